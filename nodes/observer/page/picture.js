// The four nodes, and bytes that move between them.

import { byId, draw, setAttribute, setText } from "./dom.js";
import { limit, planWords, rate, share, size, speed } from "./words.js";

const ROLES = ["device", "channel", "target", "controller"];
const LANES = ["uplink", "downlink"];
const FULL_QUEUE_BYTES = 1e6;
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** Returns `show(state)`. */
export function makePicture() {
  const hops = ["hop-near", "hop-far"].map((id) => makeHop(byId(id)));
  makePlanWire(byId("hop-plan"));
  const moving = makeMovement(hops.flatMap((hop) => hop.dots));
  let dropped = 0;

  return function show(state) {
    for (const role of ROLES) showNode(byId(`node-${role}`), state.nodes?.[role]);
    showFlow(state.flow ?? {}, state.nodes?.channel?.state ?? "unknown");
    setText(byId("plan-words"), whole(planWords(state.plan)).replace(",\u00a0", ", "));
    setText(byId("plan-acceptance"), state.plan?.acceptance ?? "");
    showNow(state.now ?? {});
    moving(state.flow ?? {});
  };

  function showFlow(flow, channel) {
    for (const lane of LANES) {
      const side = lane === "uplink" ? "up" : "down";
      const one = flow[lane];
      const [near, far] = hops.map((hop) => hop.item.querySelector(`.${side} .figure`));
      setText(near, one ? figure(one, channel) : "–");
      setText(far, one?.total_bytes ? `${size(one.total_bytes)} so far` : "–");
      setText(byId(`queue-${side}-words`), size(one?.queued_bytes ?? 0));
      setAttribute(byId(`queue-${side}`), "width", `${100 * fullness(one?.queued_bytes ?? 0)}%`);
    }
    const lost = LANES.reduce((sum, lane) => sum + (flow[lane]?.dropped ?? 0), 0);
    setText(byId("dropped"), lost === 1 ? "1 message" : `${lost} messages`);
    byId("dropped").classList.toggle("some", lost > dropped);
    dropped = lost;
  }
}

function figure(one, channel) {
  const now = whole(rate(one.bytes_per_s * 8));
  if (one.rate_bps === null && channel === "unknown") return now; // without one, nobody knows the limit
  return one.rate_bps === null ? `${now}, no limit` : `${now} of ${whole(limit(one.rate_bps))}`;
}

/** Not to be broken between number and unit. */
const whole = (text) => text.replaceAll(" ", "\u00a0");

/** Of the bar, on a logarithmic scale: a single packet can be seen, and a megabyte fits. */
function fullness(bytes) {
  return Math.min(1, Math.log10(1 + bytes / 100) / Math.log10(1 + FULL_QUEUE_BYTES / 100));
}

function showNode(item, node) {
  const state = node?.state ?? "unknown";
  setAttribute(item, "data-state", state);
  setText(item.querySelector(".word"), state);
  setText(item.querySelector(".detail"), node?.detail ?? "");
}

function showNow(now) {
  setText(byId("now-speed"), speed(now.tokens_per_s));
  setText(byId("now-alone"), speed(now.target_only_tokens_per_s));
  setText(byId("now-alpha"), share(now.alpha));
  setText(byId("now-estimated"), rate(now.estimated_bps));
  const gain = now.tokens_per_s && now.target_only_tokens_per_s
    ? now.tokens_per_s / now.target_only_tokens_per_s
    : null;
  setText(byId("now-gain"), gain === null ? "" : `${gain.toFixed(2)}× the target alone`);
  byId("now-gain").classList.toggle("faster", gain !== null && gain >= 1);
}

function makeHop(item) {
  const picture = item.querySelector("svg");
  const tracks = LANES.map((lane) => draw("line", { class: `track ${lane}` }));
  const heads = LANES.map((lane) => draw("path", { class: `head ${lane}` }));
  const dots = LANES.map((lane) => draw("line", { class: `dots ${lane}` }));
  picture.append(...tracks, ...heads, ...dots);
  new ResizeObserver(() => {
    const { width, height } = picture.getBoundingClientRect();
    const across = width > height;
    [1 / 3, 2 / 3].forEach((part, index) => {
      // Each is drawn the way its bytes go, so that all dots move alike; the uplink lies above or left.
      const [x, y] = [width * part, height * part];
      const there = across ? [6, y, width - 6, y] : [x, 6, x, height - 6];
      const line = index === 0 ? there : [there[2], there[3], there[0], there[1]];
      for (const element of [tracks[index], dots[index]]) {
        ["x1", "y1", "x2", "y2"].forEach((name, at) => setAttribute(element, name, line[at].toFixed(1)));
      }
      heads[index].setAttribute("d", headOf(line));
    });
  }).observe(picture);
  return { item, dots: dots.map((element, index) => ({ element, lane: LANES[index] })) };
}

function headOf([x1, y1, x2, y2]) {
  const [dx, dy] = [Math.sign(x2 - x1) * 6, Math.sign(y2 - y1) * 6];
  return `M${x2 - dx - dy} ${y2 - dy - dx}L${x2} ${y2}L${x2 - dx + dy} ${y2 - dy + dx}`;
}

function makePlanWire(item) {
  const picture = item.querySelector("svg");
  const line = draw("line", { class: "track plan" });
  picture.append(line);
  new ResizeObserver(() => {
    const { width, height } = picture.getBoundingClientRect();
    const [x2, y2] = width > height ? [width, height / 2] : [width / 2, height];
    const [x1, y1] = width > height ? [0, height / 2] : [width / 2, 0];
    Object.entries({ x1, y1, x2, y2 }).forEach(([name, at]) => line.setAttribute(name, at.toFixed(1)));
  }).observe(picture);
}

/** Dots run as fast and as dense as bytes do; none where nobody wants movement, or nothing moves. */
function makeMovement(dots) {
  const speeds = { uplink: 0, downlink: 0 };
  let offset = { uplink: 0, downlink: 0 };
  let last = 0;
  let running = false;

  function frame(time) {
    const passed = Math.min(0.1, (time - last) / 1000); // the first frame of a tab that was hidden
    last = time;
    for (const lane of LANES) offset[lane] -= speeds[lane] * passed;
    for (const { element, lane } of dots) element.style.strokeDashoffset = offset[lane].toFixed(1);
    running = !still.matches && (speeds.uplink > 0 || speeds.downlink > 0);
    if (running) requestAnimationFrame(frame); // a hidden tab draws no frames
  }

  return function show(flow) {
    for (const lane of LANES) {
      const level = Math.log10(Math.max(1, flow[lane]?.bytes_per_s ?? 0)) / 6; // 1 B/s to 1 MB/s
      speeds[lane] = level > 0 && !still.matches ? 40 + 180 * Math.min(1, level) : 0;
      const gap = 70 - 10 * Math.round(5.5 * Math.min(1, level)); // in steps, or dots would jump all the time
      for (const dot of dots) {
        if (dot.lane !== lane) continue;
        dot.element.style.strokeDasharray = `7 ${gap}`;
        dot.element.style.visibility = speeds[lane] > 0 ? "visible" : "hidden";
      }
    }
    if (!running && (speeds.uplink > 0 || speeds.downlink > 0)) {
      running = true;
      last = performance.now();
      requestAnimationFrame(frame);
    }
  };
}
