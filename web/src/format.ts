// Numbers, dates and scores as people read them, in the locale of the browser.

import type { BandStart, Value } from "./types";

const locale = navigator.language;

const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(locale, { maximumSignificantDigits: 3 });
const oneDecimal = new Intl.NumberFormat(locale, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const twoDecimals = new Intl.NumberFormat(locale, { minimumFractionDigits: 2, maximumFractionDigits: 2, signDisplay: "exceptZero" });
const signed = new Intl.NumberFormat(locale, { maximumFractionDigits: 0, signDisplay: "exceptZero" });
const percentage = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 0 });

const day = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short" });
const dayAndYear = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", year: "numeric" });
const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" });

export const count = (number: number): string => whole.format(number);
export const change = (number: number): string => signed.format(number).replace("-", "−");
export const percent = (share: number): string => percentage.format(share);
export const push = (number: number): string =>
  Math.abs(number) < 0.005 ? "≈ 0" : twoDecimals.format(number).replace("-", "−");

/** A number with as many digits as people want to read. */
export function figure(number: number): string {
  const text = Math.abs(number) >= 100 ? whole.format(number) : short.format(number);
  return text.replace("-", "−");
}

/** A share as a number of 100. Next to the start of a band it has a decimal, so that number and band agree. */
export function ofHundred(score: number, bands: readonly { from: number | null }[] = []): string {
  if (score > 0 && score < 0.01) return "<\u2009" + count(1);
  if (score < 1 && score > 0.99) return ">\u2009" + count(99);
  const rounded = Math.round(100 * score);
  const misplaced = (shown: number) => bands.some(({ from }) => from !== null && score < from !== shown < 100 * from);
  if (!misplaced(rounded)) return count(rounded);
  const finer = Math.round(1000 * score) / 10;
  return oneDecimal.format(misplaced(finer) ? Math.floor(1000 * score) / 10 : finer);
}

/** The points of 100 between two scores, as whole numbers are shown. */
export function points(now: number, before: number): number {
  return Math.round(100 * now) - Math.round(100 * before);
}

export function date(text: string): string {
  const time = new Date(text);
  const distant = Math.abs(time.getTime() - Date.now()) > 300 * 86_400_000;
  return (distant ? dayAndYear : day).format(time);
}

export const fullDate = (text: string): string => dayAndYear.format(new Date(text));
export const timeOfDay = (text: string | Date): string => clock.format(new Date(text));

/** Whole days of the calendar from a time until today: 0 for today, 1 for yesterday. */
export function daysAgo(text: string): number {
  const midnight = (time: Date) => new Date(time.getFullYear(), time.getMonth(), time.getDate()).getTime();
  return Math.round((midnight(new Date()) - midnight(new Date(text))) / 86_400_000);
}

const CURRENCIES: Record<string, string> = { "€": "EUR", $: "USD", "£": "GBP" };

/** Whether a unit is an amount of money. */
export function isMoney(unit: string | undefined): boolean {
  return unit !== undefined && (unit in CURRENCIES || /^[A-Z]{3}$/.test(unit));
}

/** A number with its unit. */
export function amount(number: number, unit: string | undefined): string {
  if (unit === undefined) return figure(number);
  if (!isMoney(unit)) return `${figure(number)}\u00a0${unit}`;
  const digits = Math.abs(number) >= 10 ? 0 : 2;
  try {
    const money = { style: "currency", currency: CURRENCIES[unit] ?? unit, currencyDisplay: "narrowSymbol" } as const;
    return new Intl.NumberFormat(locale, { ...money, maximumFractionDigits: digits, minimumFractionDigits: digits }).format(number);
  } catch {
    return `${figure(number)}\u00a0${unit}`;
  }
}

/** A category as people write it: `north_america` is “North America”. */
export function category(name: string): string {
  const words = name.split("_").join(" ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** A value of a feature; `yes` and `no` and `none` are words of the catalogue. */
export function value(of: Value, words: { yes: string; no: string; none: string }, unit?: string): string {
  if (of === null) return words.none;
  if (typeof of === "boolean") return of ? words.yes : words.no;
  if (typeof of === "number") return amount(of, unit);
  return /^\d{4}-\d\d-\d\dT/.test(of) ? fullDate(of) : category(of);
}

/** Where a band stands among the bands: the highest is `high`, the lowest `low`, all others `medium`. */
export function rankOf(band: string | null | undefined, bands: readonly BandStart[]): "high" | "medium" | "low" | null {
  const position = bands.findIndex(({ name }) => name === band);
  if (position < 0) return null;
  const byStart = [...bands].sort((a, b) => (a.from ?? -Infinity) - (b.from ?? -Infinity));
  const place = byStart.findIndex(({ name }) => name === band);
  if (place === byStart.length - 1) return "high";
  return place === 0 ? "low" : "medium";
}
