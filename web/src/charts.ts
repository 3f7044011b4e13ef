// Scales of the charts.

/** The margin (log-odds) of a score. */
export const logit = (score: number): number => Math.log(score / (1 - score));
export const sigmoid = (margin: number): number => 1 / (1 + Math.exp(-margin));

export const at = (share: number): string => `${(100 * share).toFixed(2)}%`;

/** Round numbers from `low` to `high`, about `wanted` of them. */
export function ticks(low: number, high: number, wanted: number): number[] {
  const span = high - low;
  if (!(span > 0)) return [low];
  const rough = span / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10) * power;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, position) => (first + position) * step);
}
