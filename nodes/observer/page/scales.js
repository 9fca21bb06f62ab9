// From values to places and back: the axes of the charts. Pure.

const MOST_TICKS = 4;

/** `low` and `high` in values, `ticks` values to write; `place(value)` is 0 at the bottom and 1 at the top. */
export function linear(values, { from = 0, to = null, whole = false } = {}) {
  const most = to ?? (Math.max(0, ...values) || 1);
  let step = stepOf((most - from) / MOST_TICKS);
  if (whole) step = Math.max(1, Math.round(step));
  const high = to ?? from + step * Math.max(1, Math.ceil((most - from) / step - 1e-9));
  const ticks = [];
  for (let value = from; value <= high + step / 1000; value += step) ticks.push(value);
  return { low: from, high, ticks, place: (value) => (value - from) / (high - from) };
}

/** The same for figures that cover several powers of `base`; what is not above zero lies on the bottom. */
export function logarithmic(values, { base = 10 } = {}) {
  const exponent = (value) => Math.log(value) / Math.log(base);
  const known = values.filter((value) => value > 0);
  const low = known.length ? Math.floor(exponent(Math.min(...known)) + 1e-9) : 0;
  const top = known.length ? Math.ceil(exponent(Math.max(...known)) - 1e-9) : 1;
  const high = Math.max(top, low + 1);
  const stride = Math.ceil((high - low) / MOST_TICKS);
  const ticks = [];
  for (let power = low; power <= high; power += stride) ticks.push(base ** power);
  const place = (value) => (value > 0 ? Math.max(0, (exponent(value) - low) / (high - low)) : 0);
  return { low: base ** low, high: base ** high, ticks, place };
}

/** 1, 2 or 5 times a power of ten, at least `rough`. */
function stepOf(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
}

const TIME_STEPS_S = [5, 10, 15, 30, 60, 120, 300];

/** Times of day to write below a chart, `from` and `to` in seconds since 1970, so that `most` fit. */
export function times(from, to, most) {
  const step = TIME_STEPS_S.find((seconds) => (to - from) / seconds <= most) ?? 600;
  const ticks = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) ticks.push(at);
  return ticks;
}
