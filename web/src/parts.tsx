// The small parts that the views share.

import type { ComponentChildren } from "preact";
import type { ApiError } from "./api";
import { ofHundred, rankOf, timeOfDay, daysAgo, date } from "./format";
import type { BandStart } from "./types";
import { words } from "./words";

const LEAF = "M1.5 12.5C1.5 5 5 1.5 12.5 1.5C12.5 9 9 12.5 1.5 12.5Z";
const HALF = "M1.5 12.5C1.5 5 5 1.5 12.5 1.5Z";

/** A leaf: full for the highest band, half for those between, empty for the lowest. */
export function Leaf({ rank }: { rank: "high" | "medium" | "low" }) {
  return (
    <svg class="leaf" viewBox="0 0 14 14" aria-hidden="true">
      {rank !== "low" && <path class="in" d={rank === "high" ? LEAF : HALF} />}
      <path d={LEAF} />
    </svg>
  );
}

export function Mark() {
  return (
    <svg width="20" height="20" viewBox="0 0 14 14" aria-hidden="true">
      <path d={LEAF} />
      <path class="rib" d="M3.5 10.5 9.5 4.5" />
    </svg>
  );
}

export function Band({ name, bands }: { name: string | null | undefined; bands: readonly BandStart[] }) {
  const rank = rankOf(name, bands);
  if (!name || !rank) return null;
  return <span class={`band ${rank}`}><Leaf rank={rank} />{words.bandName(name)}</span>;
}

/** A bar of a score, with a gap where each band starts. */
export function Meter({ score, band, bands }: { score: number; band: string | null | undefined; bands: readonly BandStart[] }) {
  const rank = rankOf(band, bands) ?? "medium";
  return (
    <svg class="meter" aria-hidden="true">
      <rect class="track" width="100%" height="8" rx="2" />
      <rect class={`fill ${rank}`} width={`${(100 * score).toFixed(1)}%`} height="8" rx="2" />
      {bands.map(({ from }) => from !== null && from > 0 && <rect key={from} class="cut" x={`${100 * from}%`} width="2" height="8" />)}
    </svg>
  );
}

/** A part of a view with a heading. `alone`: it is the whole view, so its heading is the view's. */
export function Panel({ id, title, hint, className, alone, children }: {
  id: string; title: ComponentChildren; hint?: ComponentChildren; className?: string; alone?: boolean; children?: ComponentChildren;
}) {
  const Heading = alone ? "h1" : "h2";
  return (
    <section class={`panel ${className ?? ""}`} aria-labelledby={id}>
      <Heading id={id} tabIndex={-1} class={alone ? "as-h2" : undefined}>{title}</Heading>
      {hint && <p>{hint}</p>}
      {children}
    </section>
  );
}

export function Banner({ bad, children }: { bad?: boolean; children: ComponentChildren }) {
  return <div class={bad ? "banner bad" : "banner"} role="status">{children}</div>;
}

/** Words that may be spoken to a customer. */
export function Say({ children }: { children: string }) {
  const [open, close] = words.language === "de" ? ["„", "“"] : ["“", "”"];
  return <p class="say">{open}{children}{close}</p>;
}

/** When data was true, in words: “03:00 today”, “21 Nov”. */
export function when(text: string): string {
  const days = daysAgo(text);
  if (days === 0) return words.at(timeOfDay(text), words.today);
  if (days === 1) return words.at(timeOfDay(text), words.yesterday);
  return date(text);
}

export const inHundred = (score: number, bands: readonly BandStart[]): string => `${ofHundred(score, bands)} ${words.inHundred}`;

/** What to show in place of data that could not be loaded. */
export function Problem({ error, retry, alone }: { error: ApiError; retry: () => void; alone?: boolean }) {
  const text = words.state;
  if (error.status === 0) return <Panel id="problem" title={text.unreachable} alone={alone === true}><p><button class="btn" onClick={retry}>{text.tryNow}</button></p></Panel>;
  if (error.status === 403) return <Panel id="problem" title={text.forbidden} alone={alone === true}><p class="quiet">{error.detail}</p></Panel>;
  const busy = error.status === 429 || error.status === 503;
  return (
    <Panel id="problem" title={busy ? text.busy : text.failed} alone={alone === true}>
      <p class="quiet">{error.detail}</p>
      {busy && error.retryAfter !== null && <p class="quiet">{text.busyHint(String(error.retryAfter))}</p>}
      <p class="after"><button class="btn" onClick={retry}>{text.retry}</button></p>
    </Panel>
  );
}

const WIDTHS = [36, 30, 40, 33, 38, 28, 35, 31];

/** Grey bars as high as the rows to come. */
export function Skeleton({ rows, label, shown }: { rows: number; label: string; shown: boolean }) {
  return (
    <div class={shown ? "skeleton shown" : "skeleton"} role="status">
      {shown && <span class="sr">{label}</span>}
      {Array.from({ length: rows }, (_, row) => (
        <svg key={row} width="100%" height="88" aria-hidden="true">
          <rect width="12%" height="14" y="12" rx="3" />
          <rect x="17%" width="10%" height="14" y="12" rx="3" />
          <rect x="30%" width={`${WIDTHS[row % WIDTHS.length]}%`} height="10" y="12" rx="3" />
          <rect x="30%" width={`${WIDTHS[(row + 3) % WIDTHS.length]}%`} height="10" y="32" rx="3" />
        </svg>
      ))}
    </div>
  );
}
