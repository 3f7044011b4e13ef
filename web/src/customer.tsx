// One customer: what the score is, what to say, why, and what was done.

import { useEffect } from "preact/hooks";
import { api } from "./api";
import type { Desk } from "./desk";
import { count, date, figure, ofHundred, push, value } from "./format";
import { History } from "./history";
import { shown } from "./list";
import { useLoad, useSlow } from "./load";
import { NoteForm, type Noted } from "./note";
import { ownPath } from "./own";
import { Band, Banner, Panel, Problem, Say, Skeleton, when } from "./parts";
import { raising, usualClause, usualRange } from "./reasons";
import { customerPath } from "./router";
import type { Changes, FeatureValues, Outcome, ScoreOne } from "./types";
import { Waterfall } from "./waterfall";
import { WhatIfPanel } from "./whatif";
import { words } from "./words";

/** Reasons with words for the talk; more would not be said in one call. */
const MOST_TALK = 4;

export function Customer({ desk, id, notice, changed, noted }: {
  desk: Desk; id: string; notice: preact.ComponentChildren; changed: number; noted: (note: Noted) => void;
}) {
  const text = words.customer;
  const key = `${desk.name} ${desk.version} ${id}`;
  const score = useLoad<ScoreOne>(`score ${key}`, (signal) => api.score(desk.name, id, signal));
  const values = useLoad<FeatureValues>(`values ${key}`, (signal) => api.values(desk.name, id, signal));
  const slow = useSlow(score.data === null && score.error === null);
  useEffect(() => {
    document.title = `${id} – ${words.brand}`;
  }, [id]);
  const place = shown.ids.indexOf(id);
  const next = shown.ids[place + 1];
  const link = desk.linkOf(id);
  const crumb = (
    <p class="crumb">
      <a href={shown.address}>{shown.address.startsWith(ownPath(desk)) ? words.own.title : words.list.title}</a>
      {place >= 0 && <span class="quiet">{text.place(count(shown.from + place), count(shown.of))}</span>}
      {place >= 0 && next && <a href={customerPath(next, desk.named)}>{text.nextOne}</a>}
    </p>
  );
  if (score.error?.status === 404) return <>{crumb}<Panel id="unknown" alone title={text.unknown(id)} hint={text.unknownHint}><p><a class="btn" href={shown.address}>{text.back}</a></p></Panel></>;
  if (score.error && !score.data) return <>{crumb}<Problem error={score.error} retry={score.reload} alone /></>;
  const data = score.data;
  if (!data) return <>{crumb}<div class="head"><div><h1 tabIndex={-1}>{id}</h1></div></div><Skeleton rows={6} label={text.loading} shown={slow} /></>;
  if (data.score === null) return <>{crumb}<Panel id="unknown" alone title={text.noScore(id)} hint={data.error?.detail ?? ""}><p><a class="btn" href={shown.address}>{text.back}</a></p></Panel></>;
  const says = desk.shares ? ofHundred(data.score, desk.bands) : figure(data.score);
  return (
    <>
      {crumb}
      <div class="head">
        <div>
          <h1 tabIndex={-1}>{desk.shares ? text.verdict(id, data.score, says) : text.plain(id, says)}</h1>
          <p class="facts">
            <Band name={data.band} bands={desk.bands} />
            {data.features?.as_of && <span>{text.scored(when(data.features.as_of), data.model.version)}</span>}
          </p>
        </div>
        {link && <div class="end"><a class="btn" href={link} target="_blank" rel="noopener noreferrer">{text.elsewhere}</a></div>}
      </div>
      {data.status === "degraded" && <Banner><p><b>{text.incomplete}</b> {text.incompleteHint}</p><a href="#data">{text.data}</a></Banner>}
      {data.hold_out && <Banner bad><p><b>{words.list.holdOutLong}</b></p></Banner>}
      <div class="cols">
        <div>
          {!data.hold_out && <Talk score={data} />}
          <Panel id="why" title={desk.shares ? text.why(says) : text.whyPlain} hint={text.whyHint}>
            <Waterfall desk={desk} score={data} />
            {values.data && <Values desk={desk} score={data} values={values.data} />}
          </Panel>
          <Changed desk={desk} id={id} keyed={key} />
          {values.data && !data.hold_out && <WhatIfPanel desk={desk} score={data} values={values.data} />}
        </div>
        <div class="side">
          <Panel id="note" title={text.note}>
            <p class="status small" role="status">{notice}</p>
            <NoteForm key={id} desk={desk} customer={id} holdOut={data.hold_out === true} done={noted} />
          </Panel>
          {desk.performance !== "off" && <Log desk={desk} id={id} changed={changed} />}
          <Data desk={desk} score={data} values={values.data} />
          {desk.performance !== "off" && <History desk={desk} id={id} score={data} />}
        </div>
      </div>
      {desk.mayRecord && desk.performance !== "off" && <p class="dock"><a class="btn main" href="#note">{text.note}</a></p>}
    </>
  );
}

function Talk({ score }: { score: ScoreOne }) {
  const text = words.customer;
  const reasons = raising(score.reasons ?? []).filter(({ say, advice }) => say || advice).slice(0, MOST_TALK);
  return (
    <Panel id="talk" title={text.say} hint={reasons.length > 0 ? text.sayHint : text.nothing}>
      {reasons.length === 0 && <Say>{words.list.opener}</Say>}
      <ol class="talk">
        {reasons.map((reason) => {
          const usual = typeof reason.value === "number" && reason.value < 0 ? null : usualClause(reason.value, reason.usual, reason.unit);
          return (
            <li key={reason.feature}>
              <div><h3>{reason.phrase}</h3>{usual && <p>{usual}</p>}</div>
              <div>{reason.say && <Say>{reason.say}</Say>}{reason.advice && <p class="tip">{!reason.say && <b>{words.list.secret}: </b>}{reason.advice}</p>}</div>
            </li>
          );
        })}
      </ol>
    </Panel>
  );
}

/** Every value beside what is usual: the same as the waterfall, and the rest. */
function Values({ desk, score, values }: { desk: Desk; score: ScoreOne; values: FeatureValues }) {
  const text = words.customer;
  const pushes = new Map<string, number>();
  for (const reason of score.reasons ?? []) {
    if (reason.parts?.length) reason.parts.forEach(({ feature, contribution }) => pushes.set(feature, contribution));
    else pushes.set(reason.feature, reason.contribution);
  }
  const known = (name: string) => desk.features.find((feature) => feature.name === name);
  const rows = [...values.features].sort((a, b) => Math.abs(pushes.get(b.feature) ?? 0) - Math.abs(pushes.get(a.feature) ?? 0));
  const title = text.values(count(rows.length));
  return (
    <details>
      <summary>{title}</summary>
      <div class="scroll" tabIndex={0} role="region" aria-label={title}>
        <table class="plain">
          <thead>
            <tr>
              <th scope="col">{text.value}</th><th scope="col">{text.now}</th><th scope="col">{text.usual}</th>
              <th scope="col">{text.effect}</th><th scope="col" class="num">{text.push}</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ feature, label, value: of }) => {
              const [pushed, own] = [pushes.get(feature), known(feature)];
              return (
                <tr key={feature}>
                  <th scope="row">{label}</th>
                  <td>{value(of, words, own?.unit)}</td>
                  <td class="quiet">{own ? usualRange(own) : ""}</td>
                  <td>{pushed === undefined || Math.abs(pushed) < 0.02 ? <span class="quiet">{words.hardly}</span> : pushed > 0 ? <span class="up">▲ {words.raises}</span> : <span class="down">▼ {words.lowers}</span>}</td>
                  <td class="num">{push(pushed ?? 0)}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </details>
  );
}

function Changed({ desk, id, keyed }: { desk: Desk; id: string; keyed: string }) {
  const text = words.customer;
  const { data, error } = useLoad<Changes>(`changes ${keyed}`, (signal) => api.changes(desk.name, id, signal));
  if (error) return <Panel id="changed" title={text.changed}><p class="quiet">{error.status === 404 ? text.unchanged : error.detail}</p></Panel>;
  if (!data) return <Panel id="changed" title={text.changed}><div class="room" /></Panel>;
  const [now, before] = [data.now.score, data.before.score].map((score) => ofHundred(score, desk.bands));
  const sentence = now === before ? text.asBefore(now ?? "") : data.difference > 0 ? text.more(now ?? "", before ?? "") : text.less(now ?? "", before ?? "");
  const moved = data.reasons.filter(({ value: today, before: then }) => today !== then);
  const unit = (name: string) => desk.features.find((feature) => feature.name === name)?.unit;
  return (
    <Panel id="changed" title={text.changed} hint={desk.shares ? sentence : data.text}>
      {moved.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label={text.changed}>
          <table class="plain">
            <thead>
              <tr>
                <th scope="col">{text.what}</th>
                <th scope="col">{data.before.as_of ? date(data.before.as_of) : text.before}</th>
                <th scope="col">{data.now.as_of ? date(data.now.as_of) : text.now}</th>
                <th scope="col">{text.risk}</th>
              </tr>
            </thead>
            <tbody>
              {moved.map((reason) => (
                <tr key={reason.feature}>
                  <th scope="row">{reason.label}</th>
                  <td>{value(reason.before, words, unit(reason.feature))}</td>
                  <td>{value(reason.value, words, unit(reason.feature))}</td>
                  <td class={reason.direction === "raises" ? "up" : "down"}>{reason.direction === "raises" ? `▲ ${text.raised}` : `▼ ${text.lowered}`}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  );
}

function Log({ desk, id, changed }: { desk: Desk; id: string; changed: number }) {
  const text = words.customer;
  const { data, error } = useLoad(`outcomes ${desk.name} ${id} ${changed}`, (signal) => api.outcomes(desk.name, id, signal));
  // A server without this operation, or a key that may not read it: the form above still works.
  if (error) return null;
  const outcomes = data?.outcomes ?? [];
  return (
    <Panel id="log" title={text.log}>
      {data && outcomes.length === 0 && <p class="quiet small">{text.noLog}</p>}
      {!data && <div class="room small" />}
      <ol class="log">{outcomes.slice(0, 12).map((outcome) => <li key={`${outcome.id ?? ""}${outcome.time}`}><b>{outcomeText(outcome)}</b>{outcome.detail}</li>)}</ol>
    </Panel>
  );
}

function outcomeText(outcome: Outcome): string {
  const text = words.note;
  const action = { call: text.call_, offer: text.offer_, none: text.none }[outcome.action ?? "none"];
  const did = outcome.action ? action : null;
  const became = outcome.result === "stayed" ? text.stayed : outcome.result === "left" ? text.leftThen : null;
  return `${date(outcome.time)}: ${[did, became].filter(Boolean).join(", ")}`;
}

function Data({ desk, score, values }: { desk: Desk; score: ScoreOne; values: FeatureValues | null }) {
  const text = words.customer;
  const label = (name: string) => desk.features.find((feature) => feature.name === name)?.label ?? name;
  const labels = (names: string[] | undefined) => (names?.length ? names.map(label).join(", ") : null);
  const issues = score.features;
  const absent = labels([...(issues?.missing ?? []), ...(issues?.null ?? [])]);
  const [stale, strange, assumed] = [labels(issues?.stale), labels(issues?.out_of_range), labels(issues?.defaulted)];
  const whole = !absent && !stale && !assumed && values;
  return (
    <Panel id="data" title={text.data}>
      <ul class="small log">
        {whole && <li>{text.complete(count(values.features.length))}</li>}
        {issues?.as_of && <li>{text.dataAsOf(when(issues.as_of))}</li>}
        {absent && <li>{text.missing(absent)}</li>}
        {stale && <li>{text.stale(stale)}</li>}
        {strange && <li>{text.strange(strange)}</li>}
        {assumed && <li>{text.defaulted(assumed)}</li>}
        {issues?.unavailable?.length ? <li>{text.away(issues.unavailable.join(", "))}</li> : null}
        <li class="quiet">{text.version(score.model.name, score.model.version)}</li>
      </ul>
    </Panel>
  );
}
