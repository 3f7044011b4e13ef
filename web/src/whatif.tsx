// What if a value were different: scores of changed values, the curve of the score over one value, and the smallest
// changes that reach a lower band.

import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { api, ApiError } from "./api";
import { at, ticks } from "./charts";
import { byScore, type Desk } from "./desk";
import { amount, category, count, figure, ofHundred, value as valueText } from "./format";
import { useLoad, useNarrow } from "./load";
import { Band, Panel } from "./parts";
import type { Curve, Feature, FeatureValues, Score, ScoreOne, Value, WhatIf } from "./types";
import { words } from "./words";

/** Milliseconds after the last change of a value before the server is asked. */
const PAUSE = 150;
/** Knobs if the contract does not say what can be changed. */
const MOST_KNOBS = 6;

type Values = Record<string, Value>;

export function WhatIfPanel({ desk, score, values }: { desk: Desk; score: ScoreOne; values: FeatureValues }) {
  const text = words.customer;
  const narrow = useNarrow();
  const id = score.id ?? "";
  const [changed, setChanged] = useState<Values>({});
  const { data: answer } = useLoad<WhatIf>(`what-if ${desk.name} ${desk.version} ${id}`, (signal) => api.whatIf(desk.name, id, signal));
  const today = useMemo(() => Object.fromEntries(values.features.map(({ feature, value }) => [feature, value])) as Values, [values]);
  const knobs = useMemo(() => knobsOf(desk, score, answer), [desk, score, answer]);
  const [curveOf, setCurveOf] = useState<string | null>(null);
  const { result, busy, error } = useTried(desk, id, changed);
  useEffect(() => setChanged({}), [id]);

  const set = (feature: string, to: Value) =>
    setChanged((before) => {
      const { [feature]: _, ...others } = before;
      return to === today[feature] ? others : { ...others, [feature]: to };
    });
  const curves = answer?.curves.filter(({ points }) => points.length > 1) ?? [];
  // The curve that leads to the smallest change says most; otherwise that of the value that matters most.
  const leading = answer?.changes.find(({ features }) => features.length === 1)?.features[0]?.feature;
  const byDefault = leading ?? knobs.find(({ type }) => type === "int" || type === "float")?.name;
  const curve = curves.find(({ feature }) => feature === (curveOf ?? byDefault)) ?? curves[0];
  const fixed = desk.features.filter(({ name, actionable }) => !actionable && knobs.some((knob) => knob.actionable) && named(score).includes(name));
  return (
    <Panel id="what-if" title={text.whatIf} hint={text.whatIfHint} className="what-if">
      <Fold narrow={narrow}>
      <div class="if-panel">
        <form class="knobs" onSubmit={(event) => event.preventDefault()}>
          {knobs.map((feature) => (
            <Knob key={feature.name} feature={feature}
              today={today[feature.name] ?? null} value={feature.name in changed ? (changed[feature.name] ?? null) : (today[feature.name] ?? null)}
              set={(to) => set(feature.name, to)} />
          ))}
          {fixed.length > 0 && <p class="fine quiet">{text.fixed(fixed.map(({ label }) => label).join(", "))}</p>}
          <button class="btn" type="button" disabled={Object.keys(changed).length === 0} onClick={() => setChanged({})}>{text.reset}</button>
        </form>
        <div>
          <Result desk={desk} score={score} result={result} changed={Object.keys(changed).length > 0} busy={busy} error={error} />
          {curve && <CurveView desk={desk} curve={curve} curves={curves} goal={goalOf(answer, curve)} choose={setCurveOf} />}
          {answer && <Smallest desk={desk} answer={answer} score={score} />}
        </div>
      </div>
      </Fold>
    </Panel>
  );
}

/** On a phone what few need waits behind a line. */
function Fold({ narrow, children }: { narrow: boolean; children: ComponentChildren }) {
  return narrow ? <details><summary>{words.customer.tryIt}</summary>{children}</details> : <>{children}</>;
}

/** Asks for the score of changed values: after a pause, and without the answers to what was asked before. */
function useTried(desk: Desk, id: string, changed: Values): { result: Score | null; busy: boolean; error: string } {
  const [state, setState] = useState<{ result: Score | null; busy: boolean; error: string }>({ result: null, busy: false, error: "" });
  useEffect(() => {
    if (Object.keys(changed).length === 0) {
      setState({ result: null, busy: false, error: "" });
      return undefined;
    }
    const control = new AbortController();
    setState((before) => ({ ...before, busy: true }));
    const timer = setTimeout(() => {
      api.tryValues(desk.name, id, changed, control.signal).then(
        ({ results }) => setState({ result: results[0] ?? null, busy: false, error: results[0]?.error?.detail ?? "" }),
        (problem: unknown) => {
          if (!control.signal.aborted) setState({ result: null, busy: false, error: problem instanceof ApiError ? problem.detail || words.state.unreachable : String(problem) });
        },
      );
    }, PAUSE);
    return () => {
      clearTimeout(timer);
      control.abort();
    };
  }, [changed, id, desk.name]);
  return state;
}

function Result({ desk, score, result, changed, busy, error }: {
  desk: Desk; score: ScoreOne; result: Score | null; changed: boolean; busy: boolean; error: string;
}) {
  const text = words.customer;
  const shown = changed && result?.score != null ? result : score;
  const number = shown.score ?? 0;
  const says = desk.shares ? ofHundred(number, desk.bands) : figure(number);
  return (
    <div class="result" aria-live="polite" aria-busy={busy}>
      <p>
        <b>{says}</b>
        <span>{changed ? text.insteadOf(ofHundred(score.score ?? 0, desk.bands)) : text.asToday}</span>
        <Band name={shown.band} bands={desk.bands} />
      </p>
      <p class="small quiet">{error ? <span class="up">{error}</span> : changed && result?.reasons?.[0] ? result.reasons[0].text : "\u00a0"}</p>
    </div>
  );
}

/** The features of the strongest reasons. */
const named = (score: ScoreOne): string[] => (score.reasons ?? []).slice(0, 4).map(({ feature }) => feature);

const topReasons = (score: ScoreOne): string[] =>
  (score.reasons ?? []).flatMap(({ feature, parts }) => [feature, ...(parts ?? []).map((part) => part.feature)]);

/** The features that can be changed: those that the contract names, otherwise those that matter most for this customer. */
function knobsOf(desk: Desk, score: ScoreOne, answer: WhatIf | null): Feature[] {
  const known = (name: string) => desk.features.find((feature) => feature.name === name);
  const order = topReasons(score);
  const place = ({ name }: Feature) => (order.includes(name) ? order.indexOf(name) : order.length);
  const changeable = desk.features.filter(({ actionable }) => actionable);
  if (changeable.length > 0) return changeable.sort((a, b) => place(a) - place(b));
  const curves = answer?.curves.flatMap(({ feature }) => known(feature) ?? []) ?? [];
  if (curves.length > 0) return curves;
  return [...new Set(topReasons(score))].flatMap((name) => known(name) ?? []).filter(({ type }) => type !== "timestamp").slice(0, MOST_KNOBS);
}

function Knob({ feature, today, value, set }: { feature: Feature; today: Value; value: Value; set: (to: Value) => void }) {
  const id = `knob-${feature.name}`;
  if (feature.type === "bool") {
    return <label class="check"><input type="checkbox" checked={value === true} onChange={(event) => set(event.currentTarget.checked)} />{feature.label}</label>;
  }
  if (feature.type === "category") {
    return (
      <label class="field">
        <span>{feature.label}</span>
        <select aria-label={feature.label} value={String(value ?? "")} onChange={(event) => set(event.currentTarget.value)}>
          {value === null && <option value="">{words.none}</option>}
          {feature.categories?.map((name) => <option key={name} value={name}>{category(name)}</option>)}
        </select>
      </label>
    );
  }
  const { low, high, step } = rangeOf(feature, [today, value]);
  const number = typeof value === "number" ? value : null;
  const change = (text: string) => {
    const to = Number(text);
    set(text === "" || !Number.isFinite(to) ? null : to);
  };
  const moved = value !== today;
  return (
    <div class="knob">
      <label class="lab" for={id}>{feature.label}{moved && <span class="quiet"> ({valueText(today, words, feature.unit)} {words.today})</span>}</label>
      <input type="range" id={id} min={low} max={high} step={step} value={number ?? low} onInput={(event) => change(event.currentTarget.value)} />
      <input type="number" aria-label={feature.label} step="any" value={number ?? ""} placeholder="–" onInput={(event) => change(event.currentTarget.value)} />
    </div>
  );
}

/** The range of a slider and of a curve: the usual values, as much on both sides, and the values that have to be in it. */
function rangeOf(feature: Feature | undefined, values: readonly Value[]): { low: number; high: number; step: number } {
  if (!feature) return { low: 0, high: 1, step: 0.01 };
  const [usualLow, usualHigh] = [feature.usual?.low, feature.usual?.high];
  let low = typeof usualLow === "number" ? usualLow : 0;
  let high = typeof usualHigh === "number" ? usualHigh : low + 10;
  const width = Math.max(high - low, feature.type === "int" ? 3 : 1);
  const natural = low >= 0;
  [low, high] = [low - width, high + 1.5 * width];
  if (natural) low = Math.max(0, low);
  for (const value of values) {
    if (typeof value === "number") [low, high] = [Math.min(low, value), Math.max(high, value)];
  }
  const [least, most] = feature.range ?? [null, null];
  if (least !== null) low = Math.max(low, least);
  if (most !== null) high = Math.min(high, most);
  if (feature.type === "int") return { low: Math.floor(low), high: Math.ceil(high), step: Math.max(1, Math.round(feature.step ?? 1)) };
  const fine = feature.step ?? 10 ** Math.floor(Math.log10((high - low) / 100));
  return { low, high, step: fine };
}

const WIDE = 210;

interface Goal { to: number; score: number }

/** The smallest change of this feature alone that reaches a lower band. */
function goalOf(answer: WhatIf | null, curve: Curve): Goal | null {
  const change = answer?.changes.find(({ features }) => features.length === 1 && features[0]?.feature === curve.feature);
  const to = change?.features[0]?.to;
  return change && typeof to === "number" ? { to, score: change.score } : null;
}

function CurveView({ desk, curve, curves, goal, choose }: {
  desk: Desk; curve: Curve; curves: readonly Curve[]; goal: Goal | null; choose: (feature: string) => void;
}) {
  const text = words.customer;
  const feature = desk.features.find(({ name }) => name === curve.feature);
  const numeric = curve.points.every(({ from }) => typeof from === "number");
  return (
    <figure class="curve">
      <label class="field pick">
        <span>{text.curve}</span>
        <select aria-label={text.curve} value={curve.feature} onChange={(event) => choose(event.currentTarget.value)}>
          {curves.map(({ feature, label }) => <option key={feature} value={feature}>{label}</option>)}
        </select>
      </label>
      {numeric && desk.shares && <Steps desk={desk} curve={curve} feature={feature} goal={goal} />}
      <details open={!numeric}>
        <summary>{text.curveTable}</summary>
        <div class="scroll" tabIndex={0} role="region" aria-label={text.curveTable}>
          <table class="plain">
            <thead><tr><th scope="col">{curve.label}</th><th scope="col" class="num">{text.score}</th><th scope="col">{words.list.band}</th></tr></thead>
            <tbody>
              {curve.points.map((point, position) => (
                <tr key={position}>
                  <th scope="row">{pointText(curve, position, feature)}</th>
                  <td class="num">{desk.shares ? ofHundred(point.score, desk.bands) : figure(point.score)}</td>
                  <td><Band name={point.band} bands={desk.bands} /></td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
    </figure>
  );
}

/** The values of a point: one, or an interval. Whole numbers are named up to the last one. */
function pointText({ points }: Curve, place: number, feature: Feature | undefined): string {
  const { from, to } = points[place] ?? { from: null };
  if (typeof from !== "number") return valueText(from, words);
  const unit = feature?.unit;
  if (typeof to !== "number" || to === from) return amount(from, unit);
  if (feature?.type !== "int") return `${figure(from)} – ${amount(to, unit)}`;
  // An interval ends before the next begins; the end of the last one is included.
  const end = place === points.length - 1 ? to : to - 1;
  return end <= from ? amount(from, unit) : `${figure(from)} – ${amount(end, unit)}`;
}

/** The score over a number, as steps: it changes only at thresholds of the trees. */
function Steps({ desk, curve, feature, goal }: { desk: Desk; curve: Curve; feature: Feature | undefined; goal: Goal | null }) {
  const unit = feature?.unit;
  const today = typeof curve.value === "number" ? curve.value : null;
  const { low: least, high: most } = rangeOf(feature, [today, goal?.to ?? null]);
  const points = curve.points.filter(({ from, to }) => typeof from === "number" && from <= most && (typeof to !== "number" || to >= least));
  const room = 0.04 * (most - least || 1);
  const [low, high] = [least - room, most + room];
  const x = (value: number) => (value - low) / (high - low);
  const top = Math.min(1.25, 1.3 * Math.max(...points.map(({ score }) => score), ...desk.bands.map(({ from }) => from ?? 0)));
  const y = (score: number) => WIDE * (1 - score / top);
  let path = "";
  for (const { from, to, score } of points) {
    const [start, end] = [typeof from === "number" ? from : low, typeof to === "number" ? to : high];
    if (Math.max(start, low) > Math.min(end, high)) continue;
    path += `${path ? "L" : "M"}${(100 * x(Math.max(start, low))).toFixed(2)},${(100 * y(score) / WIDE).toFixed(2)} L${(100 * x(Math.min(end, high))).toFixed(2)},${(100 * y(score) / WIDE).toFixed(2)} `;
  }
  const bands = byScore(desk);
  // Intervals begin at `from`, so the last one that begins at or before today's value has it.
  const now = today === null ? undefined : points.findLast(({ from }) => typeof from === "number" && from <= today);
  const dot = today === null || !now ? null : { x: x(today), y: y(now.score), score: now.score };
  const spoken = curve.points.map(({ score }, place) => `${pointText(curve, place, feature)}: ${ofHundred(score, desk.bands)}`).slice(0, 30).join("; ");
  return (
    <svg class="chart steps" height="250" role="img" aria-label={words.customer.curveChart(curve.label, spoken)}>
      <svg width="100%" height={WIDE} viewBox="0 0 100 100" preserveAspectRatio="none">
        {bands.map(({ name, from }, place) => {
          const upper = place === 0 ? top : Math.min(top, bands[place - 1]?.from ?? top);
          const lower = Math.max(0, from ?? 0);
          return <rect key={name} class={`area-${place === 0 ? "high" : place === bands.length - 1 ? "low" : "medium"}`} width="100" y={100 * (1 - upper / top)} height={(100 * Math.max(0, upper - lower)) / top} />;
        })}
        <path class="line" d={path} />
      </svg>
      {bands.map(({ name, from }, place) => {
        const upper = place === 0 ? top : Math.min(top, bands[place - 1]?.from ?? top);
        return y(Math.max(0, from ?? 0)) - y(upper) > 16 && <text key={name} x="99%" y={y(upper) + 15} text-anchor="end">{words.bandName(name).toLowerCase()}</text>;
      })}
      {dot && (
        <>
          <circle class="dot-now" cx={at(dot.x)} cy={dot.y} r="7" />
          <text class="strong" x={at(dot.x)} dx={dot.x < 0.5 ? 12 : -12} y={dot.y < 30 ? dot.y + 22 : dot.y - 12} text-anchor={dot.x < 0.5 ? "start" : "end"}>
            {words.customer.todayAt(amount(today ?? 0, unit), ofHundred(dot.score, desk.bands))}
          </text>
        </>
      )}
      {goal && x(goal.to) >= 0 && x(goal.to) <= 1 && (
        <>
          <circle class="dot-goal" cx={at(x(goal.to))} cy={y(goal.score)} r="6" />
          <text class="strong" x={at(x(goal.to))} dx={x(goal.to) < 0.6 ? 12 : -12} y={y(goal.score) - 10} text-anchor={x(goal.to) < 0.6 ? "start" : "end"}>
            {amount(goal.to, unit)}: {ofHundred(goal.score, desk.bands)}
          </text>
        </>
      )}
      {ticks(least, most, 6).map((tick) => <text key={tick} x={at(x(tick))} y="228" text-anchor="middle">{figure(tick)}</text>)}
      <text x="50%" y="246" text-anchor="middle">{curve.label}</text>
    </svg>
  );
}

function Smallest({ desk, answer, score }: { desk: Desk; answer: WhatIf; score: ScoreOne }) {
  const text = words.customer;
  const bands = byScore(desk);
  const place = bands.findIndex(({ name }) => name === score.band);
  const lower = bands[place + 1];
  if (!lower) return null;
  const pairs = answer.changes.some(({ features }) => features.length > 1);
  return (
    <>
      <h3>{text.smallest(words.bandName(lower.name))}</h3>
      {answer.changes.length === 0 ? <p class="small quiet">{text.noChanges}</p> : (
        <div class="scroll" tabIndex={0} role="region" aria-label={text.smallest(words.bandName(lower.name))}>
          <table class="plain">
            <thead><tr><th scope="col">{text.changeOne}</th><th scope="col" class="num">{text.score}</th><th scope="col">{text.isSmallest}</th></tr></thead>
            <tbody>
              {answer.changes.slice(0, 8).map((change) => (
                <tr key={change.text} class="change">
                  <th scope="row">{change.features.map(({ text: one }) => <div key={one}>{one}</div>)}</th>
                  <td class="num">{desk.shares ? ofHundred(change.score, desk.bands) : count(change.score)}</td>
                  <td>{change.optimal ? text.provenOf(change.features.length) : text.found}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {pairs && <p class="note">{text.moveTogether}</p>}
    </>
  );
}
