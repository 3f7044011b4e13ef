// Reasons as the views show them: the phrase for the value, what is usual, and what to say.

import { amount, category, isMoney, ofHundred } from "./format";
import type { Feature, Reason, Usual, Value } from "./types";
import { words } from "./words";

/** The part of the usual range that is one of its ends. */
const END = 0.25;

/** What is usual, as a short clause; null where it does not help to know it. */
export function usualClause(value: Value, usual: Usual | undefined, unit?: string): string | null {
  if (!usual) return null;
  // What few customers have at all is not unusual for those who have it.
  if (usual.missing > 0.5) return value === null ? words.usualShare(ofHundred(usual.missing)) : null;
  if (value === null) return null;
  const { low, high, share } = usual;
  if (typeof low === "number" && typeof high === "number") {
    const [from, to] = [amount(low, isMoney(unit) ? unit : undefined), amount(high, unit)];
    const inside = typeof value === "number" && low < high && low <= value && value <= high;
    if (!inside) return words.usually(low === high ? to : from, to);
    // A value near an end of the usual range may still be a reason.
    const place = (value - low) / (high - low);
    return (place <= END ? words.lowEnd : place >= 1 - END ? words.highEnd : words.within)(from, to);
  }
  if (share === undefined) return null;
  if (value === usual.value) return words.usualShare(ofHundred(share));
  if (typeof value === "boolean") return words.usualShare(ofHundred(1 - share));
  return words.usuallyOne(typeof usual.value === "string" ? category(usual.value) : String(usual.value), ofHundred(share));
}

/** What is usual of a feature, without a value to compare it with. */
export function usualRange(feature: Feature): string | null {
  const { usual, unit } = feature;
  if (!usual) return null;
  if (typeof usual.low === "number" && typeof usual.high === "number") {
    return words.usually(amount(usual.low, usual.low === usual.high || isMoney(unit) ? unit : undefined), amount(usual.high, unit));
  }
  if (usual.share === undefined) return null;
  const text = typeof usual.value === "boolean" ? (usual.value ? words.yes : words.no) : category(String(usual.value));
  return words.usuallyOne(text, ofHundred(usual.share));
}

/** The reasons that raise a score, strongest first. */
export const raising = (reasons: readonly Reason[]): Reason[] => reasons.filter(({ direction }) => direction === "raises");

/**
 * The feature that is the strongest reason of most of these customers; null if there is none. It tells nobody apart, so
 * another reason is to catch the eye.
 */
export function commonplace(items: readonly { reasons?: Reason[] }[]): string | null {
  const counts = new Map<string, number>();
  for (const { reasons } of items) {
    const first = raising(reasons ?? [])[0]?.feature;
    if (first !== undefined) counts.set(first, (counts.get(first) ?? 0) + 1);
  }
  const [most] = [...counts].sort((a, b) => b[1] - a[1]);
  return most && items.length > 4 && most[1] > 0.6 * items.length ? most[0] : null;
}

/** What to open a call with: the words of the strongest reason that has some. */
export function opening(reasons: readonly Reason[]): { say: string; from: Reason | null } {
  const from = raising(reasons).find(({ say }) => say) ?? null;
  return { say: from?.say ?? words.list.opener, from };
}
