// The charts of the page: what each shows, the time they share, and the line that reads them.

import { makeChart, nearest } from "./chart.js";
import { byId } from "./dom.js";
import { linear, logarithmic } from "./scales.js";
import { digits, limit, rate, share, short, speed, whole } from "./words.js";

/** `limit`: the words of the true rate. */
const ratePane = (limit) => ({
  share: 1,
  scale: (values) => logarithmic(values),
  tick: short,
  series: [
    { key: "rate_bps", name: "true", step: true, line: "line first", words: limit },
    { key: "estimated_bps", name: "estimated", step: false, line: "line second", words: rate },
  ],
});
const ALPHA = {
  share: 1,
  scale: (values) => linear(values, { to: 1 }),
  tick: digits,
  series: [{ key: "alpha", name: "alpha", step: false, line: "line first", words: share }],
};
const K = {
  share: 0.58,
  scale: (values) => logarithmic(values, { base: 2 }),
  tick: whole,
  series: [{ key: "k", name: "K", step: true, line: "line first", words: whole }],
};
const GAMMA = {
  share: 0.42,
  scale: (values) => linear(values, { whole: true }),
  tick: whole,
  series: [{ key: "gamma", name: "gamma", step: true, line: "line second", words: whole }],
};
const SPEED = {
  share: 1,
  between: true,
  scale: (values) => linear(usual(values)),
  tick: digits,
  series: [
    { key: "tokens_per_s", name: "measured", step: false, line: "line first", words: speed },
    { key: "target_only_tokens_per_s", name: "target alone", step: false, line: "line second", words: speed },
  ],
};

/** Without the highest few: a first guess of the controller, far off, would press all others down. */
function usual(values) {
  return [...values].sort((a, b) => a - b).slice(0, Math.ceil(values.length * 0.97));
}

/** Returns `show(state)`. */
export function makeCharts() {
  let cursor_s = null;
  let latest = null;
  const channel = () => latest?.nodes.channel?.state ?? "unknown";
  const trueRate = (bps) => (channel() === "unknown" ? rate(bps) : limit(bps)); // without one nobody knows
  const point = (at_s) => {
    if (at_s === cursor_s) return;
    cursor_s = at_s;
    if (latest) show(latest);
  };
  const charts = [
    makeChart({ title: "Tokens a second", panes: [SPEED], point }),
    makeChart({ title: "Link rate, bit/s", panes: [ratePane(trueRate)], point }),
    makeChart({ title: "Acceptance", panes: [ALPHA], point }),
    makeChart({ title: "K and gamma", panes: [K, GAMMA], point }),
  ];
  byId("charts").append(...charts.map((chart) => chart.element));
  byId("window").addEventListener("change", () => latest && show(latest));

  function show(state) {
    latest = state;
    const window_s = Number(document.querySelector("input[name=window]:checked").value);
    const to_s = state.points.at(-1)?.at_s ?? 0; // a link at rest keeps its last minutes in sight
    const from_s = to_s - window_s;
    const points = state.points.filter((one) => one.at_s >= from_s);
    const cursor = cursor_s === null || !points.length ? null : nearest(points, cursor_s);
    const view = { points, from_s, to_s, wall_s: state.wall_s ?? 0, cursor, cursor_s: cursor?.at_s ?? null };
    for (const chart of charts) chart.show(view);
  }

  return show;
}
