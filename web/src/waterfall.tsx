// From an average customer to this one: each bar is the push of a reason, in log-odds, so that equal bars are equal
// pushes. Every row is an SVG of its own, as wide as its column, so that texts keep their size on any screen.

import { at, logit, sigmoid } from "./charts";
import type { Desk } from "./desk";
import { count, ofHundred } from "./format";
import { Band, inHundred } from "./parts";
import { usualClause } from "./reasons";
import type { Reason, ScoreOne } from "./types";
import { words } from "./words";

/** Reasons with a bar of their own. */
const MOST = 6;
/** Pushes below this share of the largest join “everything else”. */
const SMALL = 0.04;
const TICKS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99];
/** The least distance between two labels of the axis, as a share of its width. */
const GAP = 0.13;

interface Scale { low: number; high: number; ticks: { margin: number; label: string; strong: boolean }[] }

export function Waterfall({ desk, score }: { desk: Desk; score: ScoreOne }) {
  const text = words.customer;
  const reasons = score.reasons ?? [];
  const explanation = score.explanation;
  if (!explanation || score.score === null || reasons.length === 0) return null;
  const biggest = Math.max(...reasons.map(({ contribution }) => Math.abs(contribution)));
  const large = reasons.filter(({ contribution }) => Math.abs(contribution) >= SMALL * biggest).slice(0, MOST);
  const shown = [...large].sort((a, b) => b.contribution - a.contribution);
  const small = reasons.filter((reason) => !large.includes(reason));
  const rest = small.reduce((sum, { contribution }) => sum + contribution, explanation.remainder);
  let margin = explanation.base;
  const rows = shown.map((reason) => {
    const start = margin;
    margin += reason.contribution;
    return { reason, start, end: margin };
  });
  const beforeRest = margin;
  const final = margin + rest;
  const scale = scaleOf(desk, [explanation.base, final, beforeRest, ...rows.flatMap(({ start, end }) => [start, end])], score, final);
  const base = explanation.base_score ?? sigmoid(explanation.base);
  const now = ofHundred(score.score, desk.bands);
  const x = (value: number) => (value - scale.low) / (scale.high - scale.low);
  const grid = scale.ticks.map(({ margin: tick, strong }) => (
    <line key={tick} class={strong ? "edge-line" : "grid-line"} x1={at(x(tick))} x2={at(x(tick))} y1="0" y2="100%" />
  ));
  const label = (value: number, shownScore: string, below: boolean) => {
    const right = x(value) < 0.6;
    return (
      <svg class="chart" aria-hidden="true">
        {grid}
        <line class="join" x1={at(x(value))} x2={at(x(value))} y1={below ? "50%" : "0"} y2={below ? "100%" : "50%"} />
        <circle class="sum-bar" cx={at(x(value))} cy="50%" r="6" />
        <text class="strong" x={at(x(value))} y="50%" dx={right ? 14 : -14} dy="5" text-anchor={right ? "start" : "end"}>{shownScore}</text>
      </svg>
    );
  };
  const bar = (start: number, end: number) => (
    <svg aria-hidden="true">
      {grid}
      <line class="join" x1={at(x(start))} x2={at(x(start))} y1="0" y2="28%" />
      <line class="join" x1={at(x(end))} x2={at(x(end))} y1="72%" y2="100%" />
      <rect class={end >= start ? "up-bar" : "down-bar"} x={at(x(Math.min(start, end)))} width={at(Math.max(Math.abs(x(end) - x(start)), 0.002))} y="28%" height="44%" rx="2" />
    </svg>
  );
  return (
    <div class="fall" role="group" aria-label={desk.shares ? text.chart(ofHundred(base), score.id ?? "", now) : text.whyPlain}>
      <div class="row headrow">
        <div class="h">{text.reason}</div>
        <div class="plot">
          <svg class="chart" aria-hidden="true">
            {scale.ticks.map((tick) => <text key={tick.margin} class={tick.strong ? "strong" : undefined} x={at(x(tick.margin))} y="100%" dy="-9" text-anchor="middle">{tick.label}</text>)}
          </svg>
        </div>
        <div class="if">{desk.shares ? text.ifUsual : ""}</div>
      </div>
      <div class="row">
        <div class="h"><b>{text.average}</b><span>{text.averageHint}</span></div>
        <div class="plot">{label(explanation.base, desk.shares ? inHundred(base, desk.bands) : "", true)}</div>
        <div class="if" />
      </div>
      {rows.map(({ reason, start, end }) => (
        <div class="row" key={reason.feature}>
          <div class="h"><b>{reason.phrase}</b><span><Verdict reason={reason} />{clause(reason)}</span></div>
          <div class="plot">{bar(start, end)}</div>
          <div class="if">{ifUsual(desk, score.score ?? 0, reason)}</div>
        </div>
      ))}
      {Math.abs(rest) > 0.005 && (
        <div class="row">
          <div class="h"><b>{text.everythingElse}</b><span><Direction of={rest} />{small.length > 0 && `, ${text.smallGroups(count(small.length))}`}</span></div>
          <div class="plot">{bar(beforeRest, final)}</div>
          <div class="if"><span class="quiet">–</span></div>
        </div>
      )}
      <div class="row sum">
        <div class="h"><b>{text.todayIs(score.id ?? "")}</b><span><Band name={score.band} bands={desk.bands} /></span></div>
        <div class="plot">{label(final, desk.shares ? `${now} ${words.inHundred}` : String(score.score), false)}</div>
        <div class="if" />
      </div>
    </div>
  );
}

/** The axis. It names scores only where margins are log-odds; a calibrated model has other scores. */
function scaleOf(desk: Desk, margins: number[], score: ScoreOne, final: number): Scale {
  const [least, most] = [Math.min(...margins), Math.max(...margins)];
  const room = 0.08 * (most - least || 1);
  const [low, high] = [least - room, most + room];
  const logistic = desk.shares && Math.abs(sigmoid(final) - (score.score ?? 0)) < 0.005;
  if (!logistic) return { low, high, ticks: [] };
  const starts = desk.bands.filter(({ from }) => from !== null && from > 0 && from < 1);
  const candidates = [
    ...starts.map(({ name, from }) => ({ share: from ?? 0, label: `${words.bandName(name).toLowerCase()} ${ofHundred(from ?? 0)}`, strong: true })),
    ...TICKS.filter((share) => !starts.some(({ from }) => from === share)).map((share) => ({ share, label: ofHundred(share), strong: false })),
  ];
  const ticks: Scale["ticks"] = [];
  for (const { share, label, strong } of candidates) {
    const margin = logit(share);
    const clear = ticks.every((other) => Math.abs(other.margin - margin) / (high - low) >= GAP * (strong || other.strong ? 1.25 : 0.8));
    if (margin > low && margin < high && clear) ticks.push({ margin, label, strong });
  }
  return { low, high, ticks };
}

function Direction({ of }: { of: number }) {
  return of >= 0 ? <span class="up">▲ {words.raises}</span> : <span class="down">▼ {words.lowers}</span>;
}

/** What a reason does. Its push and its effect can differ in sign, as features act together. */
function Verdict({ reason }: { reason: Reason }) {
  const contrary = reason.effect !== undefined && Math.abs(reason.effect) >= 0.005 && reason.effect > 0 !== reason.contribution > 0;
  if (contrary) return <span class={reason.contribution > 0 ? "up" : "down"}>{reason.contribution > 0 ? "▲" : "▼"} {words.together}</span>;
  return <Direction of={reason.contribution} />;
}

function clause(reason: Reason): string {
  if (typeof reason.value === "number" && reason.value < 0) return "";
  const usual = usualClause(reason.value, reason.usual, reason.unit);
  return usual ? `, ${usual}` : "";
}

function ifUsual(desk: Desk, score: number, reason: Reason): preact.ComponentChildren {
  if (!desk.shares || reason.effect === undefined) return <span class="quiet">–</span>;
  return <><span class="if-label">{words.customer.ifUsualShort} </span>{ofHundred(Math.min(1, Math.max(0, score - reason.effect)), desk.bands)} {words.inHundred}</>;
}

