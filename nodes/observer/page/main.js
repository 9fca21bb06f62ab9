// From the feed to the page: fold each message, draw what holds with the next frame.

import { makeAnswers, makeTeller } from "./answers.js";
import { makeAsk } from "./ask.js";
import { makeCharts } from "./charts.js";
import { makeDecisions } from "./decisions.js";
import { byId, make, setAttribute, setText } from "./dom.js";
import { listen } from "./feed.js";
import { makeLink } from "./link.js";
import { makePicture } from "./picture.js";
import { emptyState, fold } from "./state.js";
import { span } from "./words.js";

const state = emptyState();
const views = [makePicture, makeLink, makeAsk, makeAnswers, makeTeller, makeCharts, makeDecisions].map(
  (begin) => begin(),
);
const connection = { status: "connecting", reason: "", since: performance.now() };
const LOST_MS = 1000; // a frame that was asked for that long ago may never come
let dueAt = null; // when the frame was asked for that has not come yet

const feed = listen({
  device: wantedDevice(),
  hear(message) {
    fold(state, message);
    state.wall_s = Date.now() / 1000 - state.at_s; // from the observer's clock to the time of day
    soon();
  },
  tell(status, reason) {
    if (status !== connection.status) connection.since = performance.now();
    if (status !== connection.status || reason) Object.assign(connection, { status, reason });
    showConnection();
  },
});
byId("devices").addEventListener("change", (event) => {
  const name = event.target.value || null;
  history.replaceState(null, "", name === null ? location.pathname : `#device=${encodeURIComponent(name)}`);
  feed.choose(name);
});
setInterval(() => {
  showConnection();
  const overdue = dueAt !== null && performance.now() - dueAt >= LOST_MS;
  if (overdue && document.visibilityState === "visible") draw();
}, 1000);

/** One drawing a frame at most, none while the tab is hidden. */
function soon() {
  if (dueAt !== null) return;
  dueAt = performance.now();
  requestAnimationFrame(draw);
}

function draw() {
  if (dueAt === null) return; // a late frame: it was drawn without it
  dueAt = null;
  showDevices();
  for (const view of views) view(state);
}

function wantedDevice() {
  const name = new URLSearchParams(location.hash.slice(1)).get("device");
  return name || null;
}

function showConnection() {
  const { status, reason, since } = connection;
  setAttribute(byId("connection"), "data-state", status);
  setAttribute(document.body, "data-connection", status);
  const waited = span((performance.now() - since) / 1000);
  const words = status === "lost" ? `reconnecting, lost for ${waited}${reason && `: ${reason}`}` : status;
  setText(byId("connection-words"), words);
}

function showDevices() {
  const chooser = byId("devices");
  byId("chooser").hidden = state.devices.length < 2;
  const wanted = wantedDevice();
  const names = JSON.stringify([state.devices, wanted === null ? state.device : null]);
  if (chooser.dataset.names === names) return;
  chooser.dataset.names = names;
  const newest = wanted === null && state.device !== null ? `heard last: ${state.device}` : "heard last";
  chooser.replaceChildren(
    make("option", { value: "" }, newest),
    ...state.devices.map((name) => make("option", { value: name }, name)),
  );
  chooser.value = wanted ?? "";
}
