// How the score of a customer developed: the first score of each week, as the server has kept them.

import { api } from "./api";
import { at, ticks } from "./charts";
import type { Desk } from "./desk";
import { count, date, fullDate, ofHundred } from "./format";
import { useLoad } from "./load";
import { Panel } from "./parts";
import type { ScoreHistory, ScoreOne } from "./types";
import { words } from "./words";

const HEIGHT = 120;

interface Point { time: number; score: number; version: number | null }

export function History({ desk, id, score }: { desk: Desk; id: string; score: ScoreOne }) {
  const text = words.customer;
  const { data, error } = useLoad<ScoreHistory>(`history ${desk.name} ${id}`, (signal) => api.history(desk.name, id, signal));
  // A server that keeps no scores, or cannot read them now: the score itself is there.
  if (error || !desk.shares) return null;
  if (!data) return <Panel id="history" title={text.history}><div class="room small" /></Panel>;
  const kept: Point[] = data.scores.map(({ time, score, version }) => ({ time: Date.parse(time), score, version })).reverse();
  const points = score.score === null ? kept : [...kept, { time: Date.now(), score: score.score, version: null }];
  if (kept.length < 2) return <Panel id="history" title={text.history}><p class="quiet small">{text.historyLater}</p></Panel>;
  const [first, last] = [points[0], points.at(-1)];
  const title = first && last ? text.historyFrom(ofHundred(first.score), fullDate(new Date(first.time).toISOString()), ofHundred(last.score, desk.bands)) : text.history;
  return (
    <Panel id="history" title={text.history} hint={title}>
      <Course desk={desk} points={points} />
      <details>
        <summary>{text.historyTable}</summary>
        <table class="plain">
          <thead><tr><th scope="col">{text.historyWhen}</th><th scope="col" class="num">{text.score}</th><th scope="col" class="num">{words.model.version}</th></tr></thead>
          <tbody>
            {[...kept].reverse().map(({ time, score, version }) => (
              <tr key={`${time} ${version}`}><th scope="row">{fullDate(new Date(time).toISOString())}</th><td class="num">{ofHundred(score, desk.bands)}</td><td class="num">{version}</td></tr>
            ))}
          </tbody>
        </table>
      </details>
    </Panel>
  );
}

/** A line through the scores; the starts of the bands are dashed. */
function Course({ desk, points }: { desk: Desk; points: readonly Point[] }) {
  const [from, to] = [points[0]?.time ?? 0, points.at(-1)?.time ?? 1];
  const top = Math.min(1, 1.15 * Math.max(0.05, ...points.map(({ score }) => score)));
  const x = (time: number) => 0.97 * ((time - from) / (to - from || 1)) + 0.015;
  const y = (score: number) => HEIGHT * (1 - score / top);
  const path = points.map(({ time, score }, place) => `${place ? "L" : "M"}${(100 * x(time)).toFixed(2)},${((100 * y(score)) / HEIGHT).toFixed(2)}`).join(" ");
  const spoken = points.map(({ time, score }) => `${date(new Date(time).toISOString())}: ${ofHundred(score, desk.bands)}`).join("; ");
  const bands = desk.bands.flatMap(({ name, from: start }) => (start !== null && start > 0 && start < top ? [{ name, start }] : []));
  return (
    <svg class="chart inset course" height={HEIGHT + 34} role="img" aria-label={spoken}>
      {ticks(0, top, 4).map((mark) => <text key={mark} x="24" y={12 + y(mark)} text-anchor="end">{count(100 * mark)}</text>)}
      <svg x="32" y="8" width="100%" height={HEIGHT}>
        <svg width="92%" height={HEIGHT} viewBox="0 0 100 100" preserveAspectRatio="none"><path class="line" d={path} /></svg>
        {bands.map(({ name, start }) => <line key={name} class="diag" x1="0" x2="92%" y1={y(start)} y2={y(start)} />)}
        {points.map(({ time, score }) => <circle key={time} class="pt" cx={at(0.92 * x(time))} cy={y(score)} r="3" />)}
      </svg>
      <svg x="32" y={HEIGHT + 8} width="100%" height="26">
        <text x={at(0.92 * x(from))} y="18">{date(new Date(from).toISOString())}</text>
        <text x={at(0.92 * x(to))} y="18" text-anchor="end">{words.today}</text>
      </svg>
    </svg>
  );
}
