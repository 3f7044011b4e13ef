// The model for people who use its scores: whether it is in order, what it goes by, and whether it is right.

import { useEffect } from "preact/hooks";
import { api } from "./api";
import { BandBar, orderedBands } from "./bands";
import { at, ticks } from "./charts";
import type { Desk } from "./desk";
import { count, date, fullDate, ofHundred, percent } from "./format";
import { useLoad } from "./load";
import { Band, Banner, Panel } from "./parts";
import type { Drift, Estimate, HoldOut, Performance, Ranking, Step } from "./types";
import { words } from "./words";

/** Scores from which on it says something how well they tell customers apart. */
const ENOUGH = 200;
/** Rows of what matters most. */
const MOST_GROUPS = 9;
/** Features whose distributions are drawn. */
const MOST_DRAWN = 3;

export function ModelView({ desk }: { desk: Desk }) {
  const text = words.model;
  const drift = useLoad<Drift>(`drift ${desk.name} ${desk.version}`, (signal) => api.drift(desk.name, signal));
  const ranking = useLoad<Ranking>(`bands ${desk.name} ${desk.version}`, (signal) => api.ranking(desk.name, new URLSearchParams({ page_size: "1" }), signal));
  useEffect(() => {
    document.title = `${text.title} – ${words.brand}`;
    const target = location.hash.slice(1);
    if (target) document.getElementById(target)?.scrollIntoView();
  }, []);
  const version = desk.model.versions.find((known) => known.version === desk.version);
  const moved = drift.data?.enough ? drift.data.features.filter(({ drifted }) => drifted) : [];
  const title = moved.length === 0 ? text.fine : moved.length === 1 ? text.watchOne : text.watchMany(moved.length);
  const performance = desk.performance && desk.performance !== "off" ? desk.performance : null;
  return (
    <>
      <div class="head"><div><h1 tabIndex={-1}>{title}</h1><p>{text.facts(desk.name, desk.version, version?.since ? fullDate(version.since) : null)}</p></div></div>
      {moved[0] && <Banner><p><b>{text.watch} {moved[0].label}.</b> {driftText(moved[0])}</p><a href="#drift">{text.seeDrift}</a></Banner>}
      <div class="grid">
        <Facts desk={desk} performance={performance} steps={version?.steps ?? []} />
        <BandsPanel desk={desk} ranking={ranking.data} />
        <Matters desk={desk} drift={drift.data} />
        <Calibration desk={desk} performance={performance} />
        <DriftPanel drift={drift.data} failed={drift.error !== null} />
        <Calls performance={performance} off={desk.performance === "off"} />
        <Release desk={desk} ranking={ranking.data} />
      </div>
      <p class="note"><a href="/docs/" target="_blank" rel="noopener">{text.api}</a></p>
    </>
  );
}

function Facts({ desk, performance, steps }: { desk: Desk; performance: Performance | null; steps: readonly Step[] }) {
  const text = words.model;
  const live = desk.model.live;
  if (!live) return null;
  // Dates of the lineage as people write them; everything else as the training wrote it.
  const dates = (text: string) => text.replace(/\b\d{4}-\d\d-\d\d\b/g, (day) => fullDate(`${day}T12:00`));
  const learned = [live.lineage["data"], live.lineage["cutoffs"]].flatMap((text) => (text ? dates(text) : [])).join("; ");
  const passed = steps.filter(({ outcome, step }) => outcome === "passed" && ["golden", "checksums", "features"].includes(step));
  const definition = performance?.definition;
  return (
    <Panel id="facts" title={text.what} className="w5" hint={definition ? text.whatOutcome(String(definition.horizon_days), String(definition.grace_days)) : text.whatPlain}>
      <table class="plain facts-table">
        <tbody>
          <tr><th scope="row">{text.version}</th><td>{text.trained(live.version, live.trained_at ? fullDate(live.trained_at) : null)}</td></tr>
          {learned && <tr><th scope="row">{text.learned}</th><td>{learned}</td></tr>}
          <tr><th scope="row">{text.made}</th><td>{text.trees(count(live.trees), live.library)}</td></tr>
          <tr><th scope="row">{text.gate}</th><td><ul>{passed.map(({ step }) => <li key={step} class="ok">{text.steps[step] ?? step}</li>)}</ul></td></tr>
        </tbody>
      </table>
      <details>
        <summary>{text.allSteps}</summary>
        <table class="plain">
          <tbody>
            {steps.map(({ step, outcome, detail }) => (
              <tr key={step}><th scope="row">{text.steps[step] ?? step}<br /><span class="quiet">{detail}</span></th><td>{text.outcomes[outcome]}</td></tr>
            ))}
          </tbody>
        </table>
      </details>
    </Panel>
  );
}

function BandsPanel({ desk, ranking }: { desk: Desk; ranking: Ranking | null }) {
  const text = words.model;
  if (!ranking) return <Panel id="bands" title={words.list.band} className="w7"><div class="room" /></Panel>;
  const bands = orderedBands(desk, ranking.bands);
  const all = bands.reduce((sum, { customers }) => sum + customers, 0);
  const title = bands.map(({ name, customers }) => text.bandCount(count(customers), words.bandName(name))).join(", ");
  return (
    <Panel id="bands" title={title} hint={text.bandsHint(count(all))} className="w7">
      <BandBar desk={desk} bands={bands} />
      <table class="plain">
        <thead>
          <tr>
            <th scope="col">{words.list.band}</th><th scope="col">{text.score}</th>
            <th scope="col" class="num">{words.list.customers}</th><th scope="col" class="num">{words.list.expected}</th>
          </tr>
        </thead>
        <tbody>
          {bands.map(({ name, from, customers, expected }, place) => {
            const above = bands[place - 1]?.from;
            return (
              <tr key={name}>
                <th scope="row"><Band name={name} bands={desk.bands} /></th>
                <td>{desk.shares && text.fromTo(ofHundred(from ?? 0), above == null ? null : ofHundred(above))}</td>
                <td class="num">{count(customers)}</td>
                <td class="num">{expected === null ? "–" : count(Math.round(expected))}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </Panel>
  );
}

function Matters({ desk, drift }: { desk: Desk; drift: Drift | null }) {
  const text = words.model;
  const groups = new Map<string, number>();
  for (const { feature, label, weight } of drift?.features ?? []) {
    const group = desk.features.find(({ name }) => name === feature)?.group ?? label;
    groups.set(group, (groups.get(group) ?? 0) + weight);
  }
  const rows = [...groups].sort((a, b) => b[1] - a[1]).slice(0, MOST_GROUPS);
  const most = rows[0]?.[1] ?? 1;
  return (
    <Panel id="matters" title={text.matters} hint={drift ? text.mattersHint : text.noDrift} className="w6">
      {rows.map(([group, weight]) => (
        <div class="hbar" key={group}>
          <span>{group}</span>
          <svg aria-hidden="true"><rect width={at(weight / most)} height="14" rx="2" /></svg>
          <span class="num">{percent(weight)}</span>
        </div>
      ))}
    </Panel>
  );
}

const HEIGHT = 200;

function Calibration({ desk, performance }: { desk: Desk; performance: Performance | null }) {
  const text = words.model;
  const version = performance?.versions.find((known) => known.version === desk.version) ?? performance?.versions[0];
  const observed = performance?.versions.find((known) => known.observed)?.observed;
  if (!performance) return <Panel id="calibration" title={text.calibration} className="w6"><p class="quiet">{desk.performance === "off" ? text.noOutcomes : ""}</p></Panel>;
  const rows = observed?.calibration.rows ?? [];
  const last = rows.at(-1);
  if (!last) {
    const days = String(performance.definition.horizon_days + performance.definition.grace_days);
    return (
      <Panel id="calibration" title={text.calibration} hint={text.tooEarlyHint(days)} className="w6">
        {version?.expected ? (
          <>
            <p>{text.promise(count(version.counts.scores), count(Math.round(version.expected.left)))}</p>
            {version.expected.auc && version.counts.scores >= ENOUGH && <p class="after-small">{text.order(ofHundred(version.expected.auc.value), ofHundred(version.expected.auc.low), ofHundred(version.expected.auc.high))}</p>}
          </>
        ) : <p>{text.noScores}</p>}
      </Panel>
    );
  }
  const top = Math.min(1, 1.08 * Math.max(...rows.map(({ mean, rate }) => Math.max(mean, rate.high))));
  const y = (share: number) => HEIGHT * (1 - share / top);
  const marks = ticks(0, top, 5);
  return (
    <Panel id="calibration" title={text.calibrationYes(ofHundred(last.mean), ofHundred(last.rate.value))} hint={text.calibrationHint} className="w6">
      <svg class="chart inset" height={HEIGHT + 60} role="img" aria-label={rows.map(({ mean, rate }) => `${ofHundred(mean)}: ${ofHundred(rate.value)}`).join("; ")}>
        <text x="0" y="10">{text.reallyLeft}</text>
        <svg x="32" y="20" width="100%" height={HEIGHT}>
          {marks.map((mark) => <line key={mark} class="grid-line" x1="0" x2="92%" y1={y(mark)} y2={y(mark)} />)}
          <line class="diag" x1="0" y1={HEIGHT} x2="92%" y2="0" />
          {rows.map(({ from, mean, rate }) => {
            const x = at((0.92 * mean) / top);
            return <g key={from}><line class="whisk" x1={x} x2={x} y1={y(rate.low)} y2={y(rate.high)} /><circle class="pt" cx={x} cy={y(rate.value)} r="4" /></g>;
          })}
        </svg>
        {marks.map((mark) => <text key={mark} x="24" y={20 + y(mark) + 4} text-anchor="end">{ofHundred(mark)}</text>)}
        <svg x="32" y={HEIGHT + 20} width="100%" height="40">
          {marks.map((mark) => <text key={mark} x={at((0.92 * mark) / top)} y="18" text-anchor="middle">{ofHundred(mark)}</text>)}
          <text x="46%" y="36" text-anchor="middle">{text.modelSaid}</text>
        </svg>
      </svg>
      <details>
        <summary>{text.asTable}</summary>
        <table class="plain">
          <thead><tr><th scope="col">{text.group}</th><th scope="col" class="num">{text.said}</th><th scope="col" class="num">{text.left}</th><th scope="col" class="num">{text.customers}</th></tr></thead>
          <tbody>
            {rows.map(({ from, mean, rate, scores }) => (
              <tr key={from}><th scope="row">{ofHundred(from)}</th><td class="num">{ofHundred(mean)}</td><td class="num">{ofHundred(rate.value)} ({ofHundred(rate.low)}–{ofHundred(rate.high)})</td><td class="num">{count(scores)}</td></tr>
            ))}
          </tbody>
        </table>
      </details>
      {version && <p class="note">{version.text}</p>}
    </Panel>
  );
}

/** The label of a bin, as short as an axis needs it. */
function binText(label: string): string {
  if (label === "missing") return words.model.missingBin;
  return label.replace(/^below (.*)$/, "< $1").replace(/^(.*) or more$/, "≥ $1").replace(" to ", "–");
}

/** What moved, without the name of the feature and the statistic. */
function driftText({ feature, text }: Drift["features"][number]): string {
  const short = text.replace(`${feature} `, "").replace(/; PSI .*$/, "");
  return short.charAt(0).toUpperCase() + short.slice(1);
}

/** Bars at training beside bars now. */
function Bins({ bins }: { bins: Drift["features"][number]["bins"] }) {
  const shown = bins.filter(({ expected, observed }) => expected > 0 || observed > 0);
  const most = Math.max(...shown.flatMap(({ expected, observed }) => [expected, observed]), 0.001);
  const width = 1 / shown.length;
  const every = Math.ceil(shown.length / 5);
  return (
    <svg class="chart bins" height="100" role="img" aria-label={shown.map(({ label, expected, observed }) => `${label}: ${percent(expected)}, ${percent(observed)}`).join("; ")}>
      {shown.map(({ label, expected, observed }, place) => (
        <g key={label}>
          <rect class="was" x={at(width * (place + 0.1))} width={at(0.38 * width)} y={80 * (1 - expected / most)} height={(80 * expected) / most} />
          <rect class="now" x={at(width * (place + 0.5))} width={at(0.38 * width)} y={80 * (1 - observed / most)} height={(80 * observed) / most} />
          {place % every === 0 && <text x={at(width * (place + 0.5))} y="96" text-anchor="middle">{binText(label)}</text>}
        </g>
      ))}
    </svg>
  );
}

function DriftPanel({ drift, failed }: { drift: Drift | null; failed: boolean }) {
  const text = words.model;
  if (!drift) return <Panel id="drift" title={text.drift} className="w12"><p class="quiet">{failed ? text.noDrift : "\u00a0"}</p></Panel>;
  const moved = drift.features.filter(({ drifted }) => drifted);
  const hint = drift.enough ? text.driftHint(moved.length, count(drift.features.length)) : text.driftFew(count(drift.rows), count(drift.needed));
  const byMove = [...drift.features].sort((a, b) => Number(b.drifted) - Number(a.drifted) || (b.psi ?? 0) - (a.psi ?? 0));
  return (
    <Panel id="drift" title={text.drift} hint={hint} className="w12">
      {drift.enough && (
        <>
          <p class="legend"><span><svg aria-hidden="true"><rect class="was" width="14" height="12" /></svg>{text.training}</span><span><svg aria-hidden="true"><rect class="now" width="14" height="12" /></svg>{text.now}</span></p>
          <div class="multi">
            {byMove.slice(0, MOST_DRAWN).map((feature) => (
              <div key={feature.feature}><h3>{feature.label}</h3><p>{driftText(feature)}</p><Bins bins={feature.bins} /></div>
            ))}
          </div>
        </>
      )}
    </Panel>
  );
}

function Calls({ performance, off }: { performance: Performance | null; off: boolean }) {
  const text = words.model;
  const contact = performance?.versions.find((version) => version.contact)?.contact;
  if (off || !performance) return <Panel id="calls" title={text.calls} className="w6"><p class="quiet">{off ? text.noOutcomes : "\u00a0"}</p></Panel>;
  if (!contact) return <Panel id="calls" title={text.callsOpen} className="w6"><p class="quiet">{text.callsPending}</p></Panel>;
  const trial: HoldOut = contact.at_risk.effect ? contact.at_risk : contact.all;
  const effect = trial.effect;
  if (!effect) return <Panel id="calls" title={text.calls} hint={text.callsNone} className="w6"><p class="small">{contact.text}</p></Panel>;
  const title = effect.low > 0 ? text.callsYes : effect.high < 0 ? text.callsNo : text.callsChance;
  const points = (share: number) => count(Math.round(100 * share));
  return (
    <Panel id="calls" title={title} hint={text.callsHint(points(effect.value), points(effect.low), points(effect.high))} className="w6">
      <Compare rows={[
        { label: text.called(count(trial.others.scores), count(trial.others.left)), rate: trial.others.rate },
        { label: text.held(count(trial.hold_out.scores), count(trial.hold_out.left)), rate: trial.hold_out.rate },
      ]} />
      <p class="note">{contact.text}</p>
    </Panel>
  );
}

/** Shares with the range that chance leaves open, on one scale. */
function Compare({ rows }: { rows: { label: string; rate: Estimate | undefined }[] }) {
  const rates = rows.flatMap(({ rate }) => rate ?? []);
  const [least, most] = [Math.min(...rates.map(({ low }) => low)), Math.max(...rates.map(({ high }) => high))];
  const room = 0.1 * (most - least || 0.1);
  const [low, high] = [Math.max(0, least - room), Math.min(1, most + room)];
  const x = (share: number) => at(0.94 * ((share - low) / (high - low)));
  return (
    <svg class="chart" height="130" role="img" aria-label={rows.map(({ label, rate }) => `${label}${rate ? `: ${ofHundred(rate.value)}` : ""}`).join("; ")}>
      {rows.map(({ label, rate }, place) => (
        <g key={label}>
          <text x="0" y={14 + 46 * place}>{label}</text>
          {rate && (
            <>
              <line class="whisk" x1={x(rate.low)} x2={x(rate.high)} y1={28 + 46 * place} y2={28 + 46 * place} />
              <circle class="pt" cx={x(rate.value)} cy={28 + 46 * place} r="4" />
              <text class="strong" x={x(rate.high)} dx="8" y={32 + 46 * place}>{ofHundred(rate.value)}</text>
            </>
          )}
        </g>
      ))}
      <line class="axis" x1="0" x2="100%" y1="96" y2="96" />
      {ticks(low, high, 5).map((tick) => <text key={tick} x={x(tick)} y="112" text-anchor={tick === low ? "start" : "middle"}>{ofHundred(tick)}</text>)}
      <text x="0" y="128">{words.model.leftOf}</text>
    </svg>
  );
}

function Release({ desk, ranking }: { desk: Desk; ranking: Ranking | null }) {
  const text = words.model;
  const release = ranking?.release ?? null;
  // The whole ranking says more than a trial on some customers, unless the trial goes on.
  const trial = desk.model.trials.findLast(({ candidate }) => !release || candidate !== desk.version);
  let [title, hint] = [text.release, trial ? trial.summary : text.releaseNone];
  if (trial) title = trial.candidate === desk.version ? text.releaseMoved(count(trial.moved_customers)) : text.trialMoves(trial.candidate, count(trial.moved_customers));
  if (release) {
    const moved = release.raised + release.lowered;
    if (!trial) title = text.releaseMoved(count(moved));
    const share = percent(moved / (release.customers || 1));
    hint = [text.releaseFrom(desk.version, release.before, share, count(release.customers), count(release.raised), count(release.lowered)), trial?.summary].filter(Boolean).join(" ");
  }
  const events = [...desk.model.events].reverse().slice(0, 6);
  return (
    <Panel id="release" title={title} hint={hint} className="w6">
      {events.length > 0 && (
        <>
          <h3>{text.history}</h3>
          <ol class="log">{events.map(({ at: time, what }, place) => <li key={place}><b>{time ? date(time) : ""}</b>{what}</li>)}</ol>
        </>
      )}
    </Panel>
  );
}
