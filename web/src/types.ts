// The parts of the REST API's answers that the page reads. The OpenAPI document describes all of them.

export type Value = number | string | boolean | null;

export interface ModelVersion { name: string; version: number; sha256: string }

export interface ModelLine { name: string; state: "live" | "refused"; version: number | null }

export interface Usual { low?: Value; high?: Value; value: Value; share?: number; missing: number }

export interface Feature {
  name: string;
  label: string;
  type: "int" | "float" | "bool" | "category" | "timestamp";
  categories?: string[];
  range: [number | null, number | null] | null;
  unit?: string;
  group?: string;
  usual?: Usual;
  actionable?: "up" | "down" | "any";
  step?: number;
}

export interface BandStart { name: string; from: number | null }

export interface Step { step: string; outcome: "passed" | "failed" | "skipped"; detail: string; milliseconds: number }

export interface Version { version: number; state: string; reason?: string; since: string | null; steps: Step[] }

export interface Trial {
  kind: "canary" | "shadow";
  share: number | null;
  base: number;
  candidate: number;
  summary: string;
  customers: number;
  moved_customers: number;
  moved_percent: number;
}

export interface Model {
  name: string;
  state: "live" | "refused";
  versions: Version[];
  events: { at: string | null; what: string }[];
  trials: Trial[];
  live: {
    version: number;
    library: string;
    trees: number;
    entity: string;
    trained_at: string | null;
    lineage: Record<string, string>;
    output: string | null;
    bands: BandStart[];
    features: Feature[];
  } | null;
}

export interface Reason {
  feature: string;
  label: string;
  group?: string;
  value: Value;
  unit?: string;
  usual?: Usual;
  contribution: number;
  direction: "raises" | "lowers";
  effect?: number;
  /** The value in words, without what is usual: “7 support calls in 30 days”. */
  phrase: string;
  text: string;
  say?: string;
  advice?: string;
  parts?: { feature: string; label: string; value: Value; contribution: number }[];
}

export interface Explanation { base: number; base_score?: number; remainder: number }

export interface Issues {
  from: string;
  as_of?: string;
  missing?: string[];
  null?: string[];
  stale?: string[];
  out_of_range?: string[];
  defaulted?: string[];
  unavailable?: string[];
}

export interface Score {
  id: string | null;
  status: "ok" | "degraded" | "not_found" | "rejected" | "unavailable" | "error";
  score: number | null;
  band?: string;
  hold_out?: boolean;
  reasons?: Reason[];
  explanation?: Explanation;
  features?: Issues;
  error?: { kind: string; detail: string };
}

export interface ScoreOne extends Score { model: ModelVersion }

export interface Contact {
  action?: "call" | "offer" | "none" | null;
  detail?: string | null;
  time?: string | null;
  result?: "stayed" | "left" | null;
  result_time?: string | null;
}

export interface RankingItem {
  rank: number;
  id: string;
  score: number;
  band?: string | null;
  change?: { score: number; difference: number; band?: string | null } | null;
  contact?: Contact | null;
  hold_out?: boolean;
  reasons?: Reason[];
  features?: Record<string, Value>;
}

export interface RankingBand { name: string; from: number | null; customers: number; expected: number | null; change: number | null }

export interface Ranking {
  model: ModelVersion;
  ranked_at: string;
  data: { snapshot?: string | null; as_of?: string | null } | null;
  stale: boolean;
  items: RankingItem[];
  next_page_token: string;
  total_size: number;
  bands: RankingBand[];
  contacted: number | null;
  release: Release | null;
}

/** What a version changed, compared with the version before on the same data. */
export interface Release { before: number; customers: number; raised: number; lowered: number }

export interface Listed { items: RankingItem[]; total_size: number; not_found: string[] }

export interface ScoreHistory { scores: { time: string; version: number; score: number }[] }

export interface FeatureValues {
  id: string;
  from: string;
  features: { feature: string; label: string; value: Value; status: string[]; as_of?: string; source: string }[];
}

export interface Changes {
  text: string;
  now: { score: number; band?: string; as_of?: string };
  before: { score: number; band?: string; as_of?: string };
  difference: number;
  reasons: { feature: string; label: string; value: Value; before: Value; contribution: number; direction: "raises" | "lowers"; text: string }[];
}

export interface Outcome {
  id?: string | null;
  model: string;
  action?: "call" | "offer" | "none" | null;
  detail?: string | null;
  result?: "stayed" | "left" | null;
  time: string;
}

export interface Curve {
  feature: string;
  label: string;
  actionable?: "up" | "down" | "any";
  value: Value;
  /** Intervals of numbers, which begin at `from` and end before `to`, or single values. The end of the last is included. */
  points: { from: Value; to?: Value; score: number; band?: string }[];
}

export interface Change {
  features: { feature: string; from: Value; to: Value; text: string }[];
  score: number;
  band?: string;
  distance: number;
  optimal: boolean;
  text: string;
}

export interface WhatIf { id: string; score: number; band?: string; curves: Curve[]; changes: Change[]; pairs_complete?: boolean }

export interface Estimate { value: number; low: number; high: number }

export interface Group { scores: number; left: number; rate?: Estimate }

export interface HoldOut { hold_out: Group; others: Group; effect?: Estimate; contacted_anyway: number }

export interface Performance {
  as_of: string;
  definition: { horizon_days: number; grace_days: number; threshold: number; band?: string };
  text: string;
  versions: {
    version: number;
    text: string;
    counts: { scores: number; pending: number; matured: number; known: number };
    observed?: {
      left: number;
      rate: Estimate;
      expected_left: number;
      auc?: Estimate;
      calibration: { rows: { from: number; to: number; scores: number; mean: number; left: number; rate: Estimate }[] };
    };
    expected?: { left: number; auc?: Estimate };
    contact?: { contacted: Group; not_contacted: Group; all: HoldOut; at_risk: HoldOut; text: string };
  }[];
}

export interface Distribution { moved: boolean; judged: boolean; psi?: number; bins: { label: string; expected: number; observed: number }[] }

export interface Drift {
  rows: number;
  needed: number;
  enough: boolean;
  text: string;
  window: { kind: string; from?: string; ended: boolean };
  features: ({ feature: string; label: string; drifted: boolean; causes: string[]; text: string; weight: number } & Distribution)[];
  score?: Distribution;
}

export interface Session {
  client: string | null;
  roles: string[];
  /** Address of a customer in another system, with `{id}` where the id belongs. */
  customer_link: string | null;
}
