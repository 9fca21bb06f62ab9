// A question, by the API on this page's own port. The tokens come by the feed; here only how it ended matters.

import { announce, byId, setText } from "./dom.js";

/** Returns `show(state)`. */
export function makeAsk() {
  const form = byId("ask");
  const question = byId("question");
  let model = null;
  let running = null; // an AbortController

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    begin();
  });
  question.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    begin();
  });
  byId("stop").addEventListener("click", () => running?.abort());

  async function begin() {
    const prompt = question.value.trim();
    if (running || !prompt || model === null) return;
    running = new AbortController();
    buttons();
    setText(byId("ask-error"), "");
    const problem = await ask(model, prompt, running.signal);
    setText(byId("ask-error"), problem);
    if (running.signal.aborted) announce("Stopped.");
    running = null;
    buttons();
    question.focus({ preventScroll: true });
    question.select();
  }

  function buttons() {
    // Not `disabled`: a button that is loses the focus, and who works by keyboard the place.
    byId("send").setAttribute("aria-disabled", String(running !== null));
    byId("stop").disabled = running === null;
  }

  return function show(state) {
    model = state.asks ?? null;
    form.hidden = model === null;
    byId("ask-none").hidden = model !== null;
  };
}

/** Empty, or what is wrong. A model without a chat template completes the text. */
async function ask(model, prompt, signal) {
  const chat = { model, messages: [{ role: "user", content: prompt }], stream: true };
  try {
    let answer = await post("v1/chat/completions", chat, signal);
    if (answer.status === 400 && (await answer.clone().text()).includes("no_chat_template")) {
      answer = await post("v1/completions", { model, prompt, stream: true }, signal);
    }
    return answer.ok ? await errorIn(answer.body) : await refusal(answer);
  } catch (error) {
    return signal.aborted ? "" : "The connection broke before the answer ended.";
  }
}

function post(path, body, signal) {
  return fetch(new URL(path, document.baseURI), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
}

async function refusal(answer) {
  const told = await answer.json().catch(() => null);
  return told?.error?.message ?? `The server answers ${answer.status}.`;
}

/** Read a stream of events to its end; an error may come in the middle of it. */
async function errorIn(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let problem = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return problem;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: {") || !line.includes('"error"')) continue;
      problem = JSON.parse(line.slice(6)).error?.message ?? problem;
    }
  }
}
