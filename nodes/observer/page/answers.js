// The last answers: what the target accepted, corrected and added, in colours and in lines beneath.

import { announce, byId, make, setAttribute, setText } from "./dom.js";
import { inOrder } from "./state.js";
import { counted, summaryLine } from "./words.js";

const ORIGINS = ["accepted", "corrected", "bonus", "alone"];
const KEPT = "kept"; // what a journal had of the answer: one piece, of no origin that is known
const GAP = "gap"; // where tokens were lost on their way to this page
const NO_PROMPT = "(no text)";
const WORDS = { running: "answering", done: "done", failed: "failed", stopped: "stopped" };
const READ = 500; // letters of an answer that are read aloud
const LEFT = "nobody waits for it any more"; // as devices say it: no failure, somebody wanted no more

/** Returns `show(state)`. */
export function makeAnswers() {
  const list = byId("answers");
  const views = new Map(); // request -> view

  return function show(state) {
    const answers = inOrder(state.answers);
    for (const request of [...views.keys()]) {
      if (answers.some((answer) => answer.request === request)) continue;
      views.get(request).element.remove();
      views.delete(request);
    }
    answers.forEach((answer, place) => {
      let view = views.get(answer.request);
      if (!view) views.set(answer.request, (view = makeView()));
      if (list.children[place] !== view.element) list.insertBefore(view.element, list.children[place] ?? null);
      view.show(answer, place === 0 || answer.state === "running");
    });
    byId("answers-none").hidden = answers.length > 0;
  };
}

/** Tells a reader of answers that begin and end, not of each token. Returns `hear(state)`. */
export function makeTeller() {
  const known = new Map(); // request -> state
  let fulls = 0;
  return function hear(state) {
    const first = state.fulls !== fulls; // what was there before this page
    fulls = state.fulls;
    const began = known.size > 0;
    for (const answer of state.answers) {
      if (known.get(answer.request) === answer.state) continue;
      known.set(answer.request, answer.state);
      if (!first || began) announce(toldOf(answer));
    }
    for (const request of known.keys()) {
      if (!state.answers.some((answer) => answer.request === request)) known.delete(request);
    }
  };
}

function toldOf(answer) {
  if (answer.state === "running") return `Answering: ${answer.prompt.slice(0, 80)}`;
  const state = stateOf(answer);
  if (state === "failed") return `The answer failed: ${answer.detail}`;
  if (state === "stopped") return `Stopped, ${counted(tokensOf(answer), "token")}.`;
  const text = answer.runs.map((run) => run.text).join("");
  const first = text.slice(0, READ).replace(/\s\S{0,20}$/, ""); // no half of a word
  const read = text.length > READ ? `${first}… ${counted(tokensOf(answer), "token")} in all.` : text;
  return wasCut(answer) ? `Answer, ${badgeOf(answer)}: ${read}` : `Answer: ${read}`;
}

function makeView() {
  const prompt = make("h3", { class: "prompt", dir: "auto" });
  const word = make("span", { class: "badge" });
  const text = make("p", { class: "text", dir: "auto" });
  const box = make("div", { class: "scroll", tabindex: "0", role: "region" }, text);
  const parts = ORIGINS.map((name) => make("i", { class: name }));
  const shares = make("div", { class: "shares", "aria-hidden": "true" }, ...parts);
  const kept = make("span", { class: KEPT }, "kept from before");
  const counts = make("p", { class: "counts" }, ...ORIGINS.map((name) => make("span", { class: name })), kept);
  const summary = make("p", { class: "summary" });
  const element = make(
    "details",
    { class: "answer" },
    make("summary", {}, prompt, word),
    box,
    shares,
    counts,
    summary,
  );
  const drawn = { answer: null, runs: 0, gone: 0 };
  let chosen = false; // by a person: from then on it stays as it was left
  element.querySelector("summary").addEventListener("click", () => (chosen = true));
  element.addEventListener("toggle", () => drawn.answer && fill(drawn.answer));

  function show(answer, first) {
    if (drawn.answer !== answer) {
      text.replaceChildren(); // a new one, or the same after the connection was lost
      Object.assign(drawn, { answer, runs: 0, gone: answer.gone });
    }
    if (!chosen && element.open !== first) element.open = first;
    const state = stateOf(answer);
    setAttribute(element, "data-state", state);
    setText(prompt, answer.prompt || NO_PROMPT);
    setAttribute(box, "aria-label", `The answer to: ${(answer.prompt || NO_PROMPT).slice(0, 80)}`);
    setText(word, badgeOf(answer));
    if (element.open) fill(answer);
    else if (drawn.runs > 0) {
      text.replaceChildren();
      drawn.runs = 0;
    }
  }

  /** Only what is new: an answer may be long, and comes four times a second. */
  function fill(answer) {
    const follows = box.scrollHeight - box.scrollTop - box.clientHeight < 8;
    if (drawn.runs === 0) drawn.gone = answer.gone;
    for (; drawn.gone < answer.gone && drawn.runs > 0; drawn.gone += 1) {
      text.firstChild.remove();
      drawn.runs -= 1;
    }
    drawn.gone = answer.gone;
    if (drawn.runs > 0) setText(text.lastChild, answer.runs[drawn.runs - 1].text);
    for (const run of answer.runs.slice(drawn.runs)) {
      const origin = [KEPT, GAP, ...ORIGINS].includes(run.origin) ? run.origin : "alone";
      const piece = make("span", { class: origin });
      piece.textContent = run.text;
      text.append(piece);
    }
    drawn.runs = answer.runs.length;
    if (follows) box.scrollTop = box.scrollHeight;
    ORIGINS.forEach((name, at) => {
      const count = answer.counts[name] ?? 0;
      setText(counts.children[at], `${count} ${name}`);
      shares.children[at].style.flexGrow = String(count);
    });
    kept.hidden = !answer.counts[KEPT];
    setText(summary, ending(answer));
  }

  return { element, show };
}

const stateOf = (answer) => (answer.state === "failed" && answer.detail === LEFT ? "stopped" : answer.state);

/** Whether it ended because it may not be longer. */
const wasCut = (answer) => answer.state === "done" && answer.detail.startsWith("length");

const badgeOf = (answer) =>
  wasCut(answer) ? `cut at ${counted(tokensOf(answer), "token")}` : WORDS[stateOf(answer)] ?? stateOf(answer);

function tokensOf(answer) {
  const seen = ORIGINS.reduce((sum, name) => sum + (answer.counts[name] ?? 0), 0);
  return answer.summary?.tokens ?? seen;
}

function ending(answer) {
  const line = summaryLine(answer.summary);
  if (stateOf(answer) === "failed") return [answer.detail, line].filter(Boolean).join(" · ");
  return line;
}
