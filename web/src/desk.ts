// What every view needs to know: the model, its bands, and what the person may do.

import type { BandStart, Feature, Model, Performance } from "./types";

export interface Desk {
  model: Model;
  name: string;
  version: number;
  bands: readonly BandStart[];
  features: readonly Feature[];
  /** Whether scores are shares, so that “64 in 100” is right. */
  shares: boolean;
  /** The model's name for addresses, if there are several. */
  named: string | null;
  /** Null until it is known; "off" if outcomes are not recorded. */
  performance: Performance | "off" | null;
  /** Why contacts cannot be had now, if they are recorded at all. */
  contactsProblem: string | null;
  mayRecord: boolean;
  /** The customer's address in another system; null without one. */
  linkOf: (customer: string) => string | null;
  /** Opens the form for a contact with a customer. */
  note: (customer: string, holdOut: boolean) => void;
}

/** Days for which a customer with a contact is left out of the list. */
export const HIDE_DAYS = 14;

/** The days within which a score says that customers leave, if the model says so. */
export const horizon = (desk: Desk): string | null =>
  desk.performance && desk.performance !== "off" ? String(desk.performance.definition.horizon_days) : null;

export const topBand = (desk: Desk): string | null => byScore(desk)[0]?.name ?? null;

/** The bands, the highest first. */
export const byScore = (desk: Desk): BandStart[] =>
  [...desk.bands].sort((a, b) => (b.from ?? -Infinity) - (a.from ?? -Infinity));
