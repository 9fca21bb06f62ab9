// The observer's feed, for as long as the page is open: it comes back by itself.

const AGAIN_MS = 3000;
const HIDDEN_MS = 30_000; // behind another tab for that long: it lets go, browsers have few connections a host
const STALE_MS = 30_000; // seen again after that long without a word: the connection may have died asleep

/**
 * Listen to a device, null: the one heard last. `hear(message)` has each message; `tell(status, reason)` what
 * became of the connection: "connected", "lost" or "paused". Returns `choose(device)`.
 */
export function listen({ device, hear, tell }) {
  let source = null;
  let timer = 0;
  let heardAt = 0;

  function open() {
    close();
    const url = new URL("feed", document.baseURI);
    if (device !== null) url.searchParams.set("device", device);
    const opened = new EventSource(url);
    source = opened;
    heardAt = performance.now();
    opened.onopen = () => tell("connected", "");
    opened.onmessage = (event) => {
      heardAt = performance.now();
      const message = parsed(event.data);
      if (message) hear(message);
    };
    opened.onerror = () => {
      tell("lost", "");
      if (opened.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      close();
      timer = setTimeout(open, AGAIN_MS);
      why(url).then((reason) => source === null && reason && tell("lost", reason));
    };
  }

  function close() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") {
      if (source !== null) timer = setTimeout(() => (close(), tell("paused", "")), HIDDEN_MS);
      return;
    }
    if (source === null || performance.now() - heardAt > STALE_MS) open();
    else clearTimeout(timer);
  });
  addEventListener("online", open);
  addEventListener("pagehide", close); // or a page that is left might come again
  addEventListener("pageshow", (event) => event.persisted && open());
  open();
  return {
    choose(name) {
      device = name;
      open();
    },
  };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // half a message of a server that died; the next connection begins with all of it
  }
}

/** Why the feed is refused; an EventSource does not tell. */
async function why(url) {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(2000) });
    answer.body?.cancel();
    if (answer.status === 401 || answer.status === 403) {
      return "the server wants its key: open this page as /?key=…";
    }
    return answer.ok ? "" : `the server answers ${answer.status}`;
  } catch {
    return ""; // nobody there
  }
}
