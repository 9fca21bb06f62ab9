// Figures in words: short ones for the eye, full ones for the ear. Pure.

const SHORT = [[1e9, "G"], [1e6, "M"], [1e3, "k"]];
const SPOKEN = { G: "giga", M: "mega", k: "kilo", "": "" };

/** What stands for a value that is not known. */
export const NONE = "–";

/** A number to three significant digits, without zeros that say nothing: 1.2, 41.5, 412. */
export function digits(value) {
  return String(Number(Number(value).toPrecision(3)));
}

function scaled(value) {
  const shown = Number(Number(value).toPrecision(3)); // before the unit is chosen: 999.6 k is 1 M
  const [factor, prefix] = SHORT.find(([least]) => Math.abs(shown) >= least) ?? [1, ""];
  return [digits(shown / factor), prefix];
}

function withUnit(value, unit) {
  if (value === null || value === undefined) return NONE;
  const [number, prefix] = scaled(value);
  return `${number} ${prefix}${unit}`;
}

/** "412 kbit/s". */
export const rate = (bps) => withUnit(bps, "bit/s");

/** "12.4 kB". */
export const size = (bytes) => withUnit(bytes, "B");

/** The axis of a chart: "10 k". */
export const short = (value) => withUnit(value, "").trim();

/** A rate that may have no limit. */
export const limit = (bps) => (bps === null || bps === undefined ? "no limit" : rate(bps));

/** "1.2 megabits per second". */
export function spokenRate(bps) {
  if (bps === null) return "no limit";
  const [number, prefix] = scaled(bps);
  return `${number} ${SPOKEN[prefix]}bit${number === "1" ? "" : "s"} per second`;
}

/** "20 ms". */
export const milliseconds = (seconds) => `${digits(seconds * 1000)} ms`;

/** "20 milliseconds". */
export function spokenDelay(seconds) {
  const number = digits(seconds * 1000);
  return `${number} millisecond${number === "1" ? "" : "s"}`;
}

/** "2.5 %". */
export const percent = (share) => `${digits(share * 100)} %`;

/** "2.5 percent". */
export const spokenShare = (share) => `${digits(share * 100)} percent`;

/** One place behind the point; a dash for what is not known. */
export const speed = (value) => (value === null || value === undefined ? NONE : value.toFixed(1));

/** Two places behind the point; a dash for what is not known. */
export const share = (value) => (value === null || value === undefined ? NONE : value.toFixed(2));

/** A whole number; a dash for what is not known. */
export const whole = (value) => (value === null || value === undefined ? NONE : String(Math.round(value)));

/** "12 s", "3 min", "2 h". */
export function span(seconds) {
  if (seconds < 100) return `${Math.round(seconds)} s`;
  return seconds < 6000 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

/** The time of day, "14:03:20"; `seconds` since 1970. */
export function clock(seconds) {
  const date = new Date(seconds * 1000);
  return [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, "0"))
    .join(":");
}

/** "1 token", "2 tokens". */
export const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** A plan: "K 320, gamma 4". */
export function planWords(plan) {
  if (!plan) return NONE;
  if (plan.alone || plan.gamma === 0) return "target alone";
  return plan.k ? `K ${plan.k}, gamma ${plan.gamma}` : `gamma ${plan.gamma}, ids only`;
}

/** The line behind an answer, from its summary; empty while there is none. */
export function summaryLine(summary) {
  if (!summary) return "";
  const parts = [];
  const has = (name) => summary[name] !== null && summary[name] !== undefined;
  if (has("tokens")) parts.push(counted(summary.tokens, "token"));
  if (has("tokens_per_s")) parts.push(`${speed(summary.tokens_per_s)} tok/s`);
  if (has("target_only_tokens_per_s_estimated")) {
    parts.push(`target alone about ${speed(summary.target_only_tokens_per_s_estimated)}`);
  }
  if (has("alpha")) parts.push(`alpha ${share(summary.alpha)}`);
  if (has("bytes_up") && has("bytes_down")) {
    parts.push(`${size(summary.bytes_up)} up, ${size(summary.bytes_down)} down`);
  }
  if (has("first_token_s")) parts.push(`first token after ${milliseconds(summary.first_token_s)}`);
  return parts.join(" · ");
}
