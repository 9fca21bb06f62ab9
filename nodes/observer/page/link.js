// Sliders that order the channel; they follow the link, unless a hand is on them.

import { byId, make, setAttribute, setText } from "./dom.js";
import { limit, milliseconds, percent, spokenDelay, spokenRate, spokenShare } from "./words.js";

const AFTER_MS = 250; // of rest, before an order goes out
const SETTLES_MS = 700; // behind an answer, a message of the feed may still be older than it
const DECADE = 20; // steps of the rate
const LEAST_BPS = 1e4;
const NO_LIMIT = 81;

const SLIDERS = {
  rate: {
    field: "rate_bps",
    place: (bps) => (bps === null ? NO_LIMIT : Math.min(NO_LIMIT - 1, stepOf(bps))),
    value: (at) => (at >= NO_LIMIT ? null : Number((LEAST_BPS * 10 ** (at / DECADE)).toPrecision(2))),
    shown: limit,
    spoken: spokenRate,
  },
  delay: {
    field: "delay_s",
    place: (seconds) => seconds * 1000,
    value: (at) => at / 1000,
    shown: milliseconds,
    spoken: spokenDelay,
  },
  loss: {
    field: "loss",
    place: (share) => share * 100,
    value: (at) => at / 100,
    shown: percent,
    spoken: spokenShare,
  },
};

/** A rate of zero, an outage, stands at the lowest. */
function stepOf(bps) {
  return Math.round(DECADE * Math.log10(Math.max(bps, LEAST_BPS) / LEAST_BPS));
}

/** Returns `show(state)`. */
export function makeLink() {
  const wanted = { rate_bps: null, delay_s: 0, loss: 0 };
  let moved = {}; // of these, by a hand, since the last order: what else there is stays in each direction
  let device = null;
  let held = false; // by a pointer
  let timer = 0;
  let busy = false; // an order is under way
  let again = false; // and things have changed since
  let followsFrom = 0;
  let latest = null;

  for (const [id, slider] of Object.entries(SLIDERS)) {
    const input = byId(id);
    input.addEventListener("pointerdown", () => (held = true));
    input.addEventListener("input", () => {
      moved[slider.field] = wanted[slider.field] = slider.value(Number(input.value));
      say(id, slider);
      soon();
    });
  }
  for (const name of ["pointerup", "pointercancel"]) {
    addEventListener(name, () => {
      held = false;
      follow();
    });
  }
  byId("link").addEventListener("submit", (event) => event.preventDefault());

  function soon() {
    clearTimeout(timer);
    timer = setTimeout(order, AFTER_MS);
  }

  async function order() {
    timer = 0;
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    const direction = new FormData(byId("link")).get("direction") ?? "both";
    const body = { ...moved, direction, device };
    moved = {};
    const problem = await send(body);
    setText(byId("link-error"), problem);
    busy = false;
    followsFrom = performance.now() + SETTLES_MS;
    setTimeout(follow, SETTLES_MS + 10);
    if (again) {
      again = false;
      soon();
    }
  }

  function say(id, slider) {
    const value = wanted[slider.field];
    setText(byId(`${id}-words`), slider.shown(value));
    setAttribute(byId(id), "aria-valuetext", slider.spoken(value));
  }

  /** Take over what holds, where nobody is at the sliders. */
  function follow() {
    if (!latest || held || busy || timer || performance.now() < followsFrom) return;
    for (const [id, slider] of Object.entries(SLIDERS)) {
      wanted[slider.field] = latest[slider.field];
      const place = String(slider.place(wanted[slider.field]));
      if (byId(id).value !== place) byId(id).value = place; // the browser keeps it within the range
      say(id, slider);
    }
  }

  return function show(state) {
    latest = state.link;
    // One of several is meant alone; the only one stands for all that may come.
    device = state.devices.length > 1 ? state.device : null;
    setText(byId("link-whose"), device === null ? "" : `of ${device}`);
    const reason = unable(state);
    for (const id of Object.keys(SLIDERS)) byId(id).disabled = reason !== "";
    byId("direction").disabled = reason !== "";
    setText(byId("link-note"), reason);
    showWords(state.link);
    follow();
  };
}

function unable(state) {
  if (!state.link) return "No channel has told of its link yet.";
  if (state.link.controllable) return "";
  return "This link can't be changed from here: there is no channel that takes orders.";
}

function showWords(link) {
  const list = byId("link-words");
  const lines = link ? [["uplink", link.uplink], ["downlink", link.downlink]] : [];
  const text = lines.flat().join("\n");
  if (list.dataset.text === text) return;
  list.dataset.text = text;
  const rows = lines.map(([name, words]) => make("div", {}, make("dt", {}, name), make("dd", {}, words)));
  list.replaceChildren(...rows);
}

/** Empty, or what is wrong. */
async function send(body) {
  try {
    const answer = await fetch(new URL("link", document.baseURI), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(10_000),
    });
    if (answer.ok) return "";
    const told = await answer.json().catch(() => null);
    return told?.error?.message ?? `The link was not changed: the server answers ${answer.status}.`;
  } catch {
    return "The link was not changed: the server can't be reached.";
  }
}
