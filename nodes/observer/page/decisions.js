// What the controller decided, in words, newest first.

import { byId, make } from "./dom.js";
import { clock } from "./words.js";

/** Returns `show(state)`. */
export function makeDecisions() {
  const list = byId("decisions");
  let drawn = null; // the last decision shown
  let fulls = 0;

  return function show(state) {
    if (state.fulls !== fulls) {
      fulls = state.fulls;
      drawn = null;
      list.replaceChildren();
    }
    const shown = state.decisions.lastIndexOf(drawn);
    if (shown < 0) list.replaceChildren(); // none of those that are there is known any more
    const news = state.decisions.slice(shown + 1);
    for (const decision of news) list.prepend(lineOf(decision, state.wall_s));
    while (list.children.length > state.decisions.length) list.lastChild.remove();
    drawn = state.decisions.at(-1) ?? null;
    list.hidden = drawn === null;
    byId("decisions-none").hidden = drawn !== null;
  };
}

function lineOf(decision, wall_s) {
  const [, what, why] = /^(.*?)(?:: (.*))?$/s.exec(decision.text.replaceAll("->", "→"));
  const line = make("li", {}, make("time", {}, clock(decision.at_s + wall_s)), make("strong", {}, what));
  if (why) line.append(make("span", {}, why));
  return line;
}
