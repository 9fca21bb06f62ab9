// One chart: panes of lines over a common axis of time, to be seen, read by keys, heard, or taken as a table.

import { draw, make, setAttribute, setText } from "./dom.js";
import { times } from "./scales.js";
import { NONE, clock, span } from "./words.js";

const GAP_S = 2; // longer without a point: nothing happened in between, and no line is drawn
const MARGIN = { left: 44, right: 10, top: 8, bottom: 20, between: 18 };
const TICK_PX = 78;
const ROWS = 240; // of a table
const TABLE_MS = 5000; // it stands still for that long, or nobody could read it

let made = 0;

/**
 * `panes`: `{share, scale(values), tick(value), between, series: [{key, name, step, words(value), line}]}`;
 * `line` is the class of its stroke; `between`: fill between the first two series. `point(at_s)` moves the
 * reading line of all charts, null: takes it away. Returns `{element, show(view)}`, with view as in charts.js.
 */
export function makeChart({ title, panes, point }) {
  const id = `chart-${(made += 1)}`;
  const series = panes.flatMap((pane) => pane.series);
  const readouts = new Map(series.map((one) => [one.key, make("b", {}, "–")]));
  const keys = make("ul", { class: "keys" }, ...series.map((one) => keyOf(one, readouts.get(one.key))));
  const picture = draw("svg", { "aria-hidden": "true" });
  const plot = make("div", {
    class: "plot",
    role: "slider",
    tabindex: "0",
    "aria-label": `${title}: values over time`,
    "aria-describedby": `${id}-summary`,
    "aria-valuetext": "no values yet",
    "aria-valuemin": "0",
    "aria-valuemax": "0",
    "aria-valuenow": "0",
  }, picture);
  const summary = make("p", { class: "hidden", id: `${id}-summary` });
  const table = makeTable(title, series);
  const element = make("section", { class: "chart", "aria-labelledby": `${id}-title` },
    make("h3", { id: `${id}-title` }, title), keys, plot, summary, table.element);
  let latest = null;

  new ResizeObserver(() => latest && paint()).observe(plot);
  plot.addEventListener("pointermove", (event) => {
    if (!latest?.points.length) return;
    const { left, width } = plot.getBoundingClientRect();
    const part = (event.clientX - left - MARGIN.left) / (width - MARGIN.left - MARGIN.right);
    point(nearest(latest.points, latest.from_s + part * (latest.to_s - latest.from_s)).at_s);
  });
  plot.addEventListener("pointerleave", () => point(null));
  plot.addEventListener("focus", () => plot.matches(":focus-visible") && read(Infinity));
  plot.addEventListener("blur", () => point(null));
  plot.addEventListener("keydown", (event) => {
    const at = latest?.points.findIndex((one) => one.at_s === latest.cursor_s) ?? -1;
    const from = at < 0 ? (latest?.points.length ?? 0) - 1 : at;
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 10, PageDown: -10 };
    if (event.key in steps) read(from + steps[event.key]);
    else if (event.key === "Home") read(0);
    else if (event.key === "End") read(Infinity);
    else if (event.key === "Escape") point(null);
    else return;
    event.preventDefault();
  });

  /** Read a point by its number: the line goes there, and a screen reader says it. */
  function read(wanted) {
    const points = latest?.points ?? [];
    if (!points.length) return;
    const at = Math.max(0, Math.min(points.length - 1, wanted));
    const values = series.map((one) => `${one.name} ${spoken(one, points[at])}`).join(", ");
    setAttribute(plot, "aria-valuemax", String(points.length - 1));
    setAttribute(plot, "aria-valuenow", String(at));
    setAttribute(plot, "aria-valuetext", `${clock(points[at].at_s + latest.wall_s)}: ${values}`);
    point(points[at].at_s);
  }

  function show(view) {
    latest = view;
    const read_ = view.cursor ?? view.points.at(-1);
    for (const one of series) setText(readouts.get(one.key), read_ ? one.words(read_[one.key]) : "–");
    setText(summary, summaryOf(series, view));
    table.show(view);
    paint();
  }

  function paint() {
    const { width, height } = plot.getBoundingClientRect();
    if (width < 100) return;
    const box = { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
    setAttribute(picture, "viewBox", `0 0 ${width.toFixed(0)} ${height.toFixed(0)}`);
    const free = box.height - MARGIN.between * (panes.length - 1);
    let top = MARGIN.top;
    const parts = panes.map((pane) => {
      const part = paneOf(pane, latest, { top, width: box.width, height: free * pane.share });
      top += free * pane.share + MARGIN.between;
      return part;
    });
    picture.replaceChildren(timesOf(latest, box), ...parts, ...cursorOf(latest, box));
  }

  return { element, show };
}

function keyOf(one, readout) {
  const sample = draw("svg", { class: "key", viewBox: "0 0 22 8", "aria-hidden": "true" },
    draw("line", { class: one.line, x1: "1", y1: "4", x2: "21", y2: "4" }));
  return make("li", {}, sample, `${one.name} `, readout);
}

function paneOf(pane, view, { top, width, height }) {
  const values = pane.series.flatMap(({ key }) => known(view.points, key));
  const scale = pane.scale(values);
  const y = (value) => height * (1 - Math.min(1, scale.place(value)));
  const grid = scale.ticks.map((value) => {
    const at = y(value).toFixed(1);
    return draw("g", {}, draw("line", { class: "grid", x1: "0", x2: width.toFixed(1), y1: at, y2: at }),
      draw("text", { class: "tick", x: "-6", y: at, dy: "0.32em", "text-anchor": "end" }, pane.tick(value)));
  });
  const lines = pane.series.map((one) => draw("path", { class: one.line, d: pathOf(one, view, width, y) }));
  // A picture in the picture cuts off what lies outside; a little room for the strokes.
  const filling = pane.between ? between(pane.series, view, width, y) : [];
  const inner = draw("svg", { x: "0", y: "-2", width: width.toFixed(1), height: (height + 4).toFixed(1) },
    draw("g", { transform: "translate(0 2)" }, ...filling, ...lines));
  return draw("g", { transform: `translate(${MARGIN.left} ${top.toFixed(1)})` }, ...grid, inner);
}

function pathOf(one, view, width, y) {
  let path = "";
  let last = null;
  for (const point of view.points) {
    const value = point[one.key];
    if (value === null || value === undefined) {
      last = null;
      continue;
    }
    const at = `${across(point.at_s, view, width)} ${y(value).toFixed(1)}`;
    if (last === null || point.at_s - last.at_s > GAP_S) path += `M${at}h.1`; // one by itself is a dot
    else if (one.step) path += `H${across(point.at_s, view, width)}V${y(value).toFixed(1)}`;
    else path += `L${at}`;
    last = point;
  }
  return path;
}

/** Where the first line lies above the second one, and where below it. */
function between([first, second], view, width, y) {
  const paths = { gain: "", lag: "" };
  view.points.forEach((to, at) => {
    const from = view.points[at - 1];
    const values = [from?.[first.key], to[first.key], to[second.key], from?.[second.key]];
    if (values.some((value) => value === null || value === undefined) || to.at_s - from.at_s > GAP_S) return;
    const [left, right] = [across(from.at_s, view, width), across(to.at_s, view, width)];
    const [a, b, c, d] = values.map((value) => y(value).toFixed(1));
    const side = values[0] + values[1] >= values[2] + values[3] ? "gain" : "lag";
    paths[side] += `M${left} ${a}L${right} ${b}V${c}L${left} ${d}Z`;
  });
  return Object.entries(paths).map(([name, d]) => draw("path", { class: name, d }));
}

function timesOf(view, box) {
  const most = Math.max(1, Math.floor(box.width / TICK_PX));
  const ticks = view.points.length ? times(view.from_s + view.wall_s, view.to_s + view.wall_s, most) : [];
  const labels = ticks.map((at) => {
    const x = Number(across(at - view.wall_s, view, box.width));
    if (x < 24 || x > box.width - 22) return "";
    const place = { x: x.toFixed(1), y: String(box.height + MARGIN.top + 15), "text-anchor": "middle" };
    return draw("text", { class: "tick", ...place }, clock(at));
  });
  return draw("g", { transform: `translate(${MARGIN.left} 0)` }, ...labels);
}

function cursorOf(view, box) {
  if (!view.cursor) return [];
  const at = Number(across(view.cursor.at_s, view, box.width)) + MARGIN.left;
  const x = at.toFixed(1);
  const bottom = MARGIN.top + box.height;
  const words = clock(view.cursor.at_s + view.wall_s);
  const middle = Math.max(MARGIN.left + 24, Math.min(MARGIN.left + box.width - 26, at));
  const flag = { x: (middle - 33).toFixed(1), y: (bottom + 3).toFixed(1), width: "66", height: "16", rx: "3" };
  const label = { x: middle.toFixed(1), y: (bottom + 15).toFixed(1), "text-anchor": "middle" };
  return [
    draw("line", { class: "cursor", x1: x, x2: x, y1: String(MARGIN.top), y2: bottom.toFixed(1) }),
    draw("rect", { class: "flag", ...flag }),
    draw("text", { class: "flag-words", ...label }, words),
  ];
}

const across = (at_s, view, width) => ((width * (at_s - view.from_s)) / (view.to_s - view.from_s)).toFixed(1);

/** The point closest to a time; the points are in order. */
export function nearest(points, at_s) {
  return points.reduce((best, one) => (Math.abs(one.at_s - at_s) < Math.abs(best.at_s - at_s) ? one : best));
}

function known(points, key) {
  return points.map((one) => one[key]).filter((value) => value !== null && value !== undefined);
}

function summaryOf(series, view) {
  if (!view.points.length) return "No values yet.";
  const sentences = series.map((one) => {
    const now = `${one.name}: ${spoken(one, view.points.at(-1))} now`;
    const values = known(view.points, one.key);
    if (!values.length) return `${now}.`;
    const [low, high] = [Math.min(...values), Math.max(...values)].map(one.words);
    if (low !== high) return `${now}, ${low} to ${high} in that time.`;
    return values.length === view.points.length ? `${now}, all the time.` : `${now}, ${low} in that time.`;
  });
  return `The last ${span(view.to_s - view.from_s)}. ${sentences.join(" ")}`;
}

/** The value of a series at a point, for the ear: no reader says what a dash means. */
function spoken(one, point) {
  const words = one.words(point[one.key]);
  return words === NONE ? "none" : words;
}

function makeTable(title, series) {
  const body = make("tbody");
  const columns = ["time", ...series.map((one) => one.name)].map((name) => make("th", { scope: "col" }, name));
  const head = make("thead", {}, make("tr", {}, ...columns));
  const region = { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title}, table` };
  const box = make("div", region, make("table", {}, head, body));
  const element = make("details", { class: "table" }, make("summary", {}, "Show as table"), box);
  let latest = null;
  let filledAt = -Infinity;

  element.addEventListener("toggle", () => {
    filledAt = -Infinity;
    if (!element.open) body.replaceChildren(); // an open page keeps no more than is seen
    else if (latest) show(latest);
  });

  function show(view) {
    latest = view;
    if (!element.open || performance.now() - filledAt < TABLE_MS) return;
    filledAt = performance.now();
    const every = Math.ceil(view.points.length / ROWS) || 1;
    const points = view.points.filter((_, at) => (view.points.length - 1 - at) % every === 0).reverse();
    const rows = points.map((point) => make("tr", {},
      make("th", { scope: "row" }, clock(point.at_s + view.wall_s)),
      ...series.map((one) => make("td", {}, one.words(point[one.key])))));
    body.replaceChildren(...rows);
  }

  return { element, show };
}
