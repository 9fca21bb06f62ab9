// What the feed has told so far, within bounds: a page may stay open for days. Pure.

export const LIMITS = {
  points: 1200, // ten minutes of them
  decisions: 200,
  answers: 20,
  runs: 1500, // of an answer, each of one colour: each is an element of the page
  run: 1000, // letters of a run, so that the oldest text goes away in small pieces
  letters: 65536, // of an answer
};

export function emptyState() {
  return {
    at_s: 0,
    device: null,
    devices: [],
    asks: null,
    nodes: {},
    link: null,
    flow: {},
    plan: null,
    now: {},
    points: [],
    answers: [],
    decisions: [],
    fulls: 0, // how often all began anew
  };
}

/** Fold one message of the feed into the state; a full one replaces everything. */
export function fold(state, message) {
  if (message.full) Object.assign(state, emptyState(), { fulls: state.fulls + 1 });
  for (const name of ["at_s", "device", "devices", "asks", "nodes", "link", "flow", "plan", "now"]) {
    if (message[name] !== undefined) state[name] = message[name];
  }
  append(state.points, message.points, LIMITS.points);
  append(state.decisions, message.decisions, LIMITS.decisions);
  for (const answer of message.answers ?? []) foldAnswer(state.answers, answer);
  if (state.answers.length > LIMITS.answers) state.answers.splice(0, state.answers.length - LIMITS.answers);
}

/** The answers as they are shown: those that run, then the others, each newest first. */
export function inOrder(answers) {
  const newest = [...answers].reverse();
  const runs = (answer) => answer.state === "running";
  return [...newest.filter(runs), ...newest.filter((answer) => !runs(answer))];
}

function append(kept, news, most) {
  if (news?.length) kept.push(...news);
  if (kept.length > most) kept.splice(0, kept.length - most);
}

function foldAnswer(answers, news) {
  let answer = answers.find((known) => known.request === news.request);
  if (!answer) {
    answer = { request: news.request, prompt: "", state: "running", detail: "", summary: null };
    Object.assign(answer, { runs: [], gone: 0, letters: 0, counts: {} });
    answers.push(answer);
  }
  for (const name of ["prompt", "state", "detail", "summary"]) {
    if (news[name] !== undefined) answer[name] = news[name];
  }
  for (const [text, origin] of news.pieces ?? []) addPiece(answer, text, origin);
}

function addPiece(answer, text, origin) {
  answer.counts[origin] = (answer.counts[origin] ?? 0) + 1;
  answer.letters += text.length;
  const last = answer.runs.at(-1);
  if (last?.origin === origin && last.text.length < LIMITS.run) last.text += text;
  else answer.runs.push({ text, origin });
  while (answer.runs.length > LIMITS.runs || (answer.letters > LIMITS.letters && answer.runs.length > 1)) {
    answer.letters -= answer.runs.shift().text.length;
    answer.gone += 1; // the view takes as many elements away
  }
}
