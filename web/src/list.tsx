// Customers at risk: whom to call first, and the list.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { api, rankingPath } from "./api";
import { Bands } from "./bands";
import { byScore, horizon, topBand, type Desk } from "./desk";
import { Filters } from "./filters";
import { First } from "./first";
import { count } from "./format";
import { useLoad, useSlow } from "./load";
import { ownPath } from "./own";
import { Banner, Panel, Problem, Skeleton, when } from "./parts";
import { hides, listPath, rankingQuery, readQuery, type Query } from "./query";
import { customerPath, go, type Place } from "./router";
import { Rows } from "./rows";
import type { Ranking } from "./types";
import { words } from "./words";

/** The customers that the list showed last, so that a customer's view can lead to the next one. */
export const shown: { ids: string[]; from: number; of: number; address: string } = { ids: [], from: 1, of: 0, address: "/" };

/** Milliseconds between two looks for new scores. */
const LOOK = 60_000;
/** Milliseconds after the last sign of a person in which the page looks: a page that is left open must not keep its session. */
const PRESENT = 10 * 60_000;

let present = Date.now();
for (const sign of ["pointermove", "pointerdown", "keydown", "scroll", "focus"]) {
  addEventListener(sign, () => { present = Date.now(); }, { passive: true });
}

export function List({ desk, place, notice, changed }: { desk: Desk; place: Place; notice: preact.ComponentChildren; changed: number }) {
  const query = useMemo(() => readQuery(place.query, desk), [place.query, desk]);
  const [lost, setLost] = useState(false);
  // Whether contacts are recorded must be known first, as the server refuses to hide them otherwise.
  const wanted = desk.performance === null ? null : rankingQuery(query, desk, "json");
  const key = wanted === null ? null : `list ${desk.name} ${wanted} ${changed}`;
  const { data, error, pending, reload } = useLoad<Ranking>(key, (signal) => api.ranking(desk.name, wanted ?? new URLSearchParams(), signal));
  const slow = useSlow(data === null && error === null);
  // Until the next list is there the last one stays, under the words that are true of it.
  const last = useRef<{ ranking: Ranking; query: Query } | null>(null);
  if (data) last.current = { ranking: data, query };
  // Without a connection what was there is better than nothing; the line at the foot of the screen says how old it is.
  const view = error && error.status !== 0 ? null : last.current;
  const ranking = view?.ranking ?? null;
  const of = view?.query ?? query;

  // A page of a list that is gone: its first page is the nearest to what was wanted.
  const gone = query.after !== null && (error?.status === 409 || error?.status === 400);
  useEffect(() => {
    if (!gone) return;
    setLost(true);
    go(listPath({ ...query, after: null, from: 1 }, desk), { replace: true });
  }, [gone]);

  const fresh = useFresh(desk.name, ranking?.ranked_at ?? null);
  useEffect(() => {
    if (!data) return;
    Object.assign(shown, { ids: data.items.map(({ id }) => id), from: query.from, of: data.total_size, address: location.pathname + location.search });
  }, [data]);

  const set = (news: Partial<Query>, options: { replace?: boolean; state?: unknown } = {}) => {
    setLost(false);
    go(listPath({ ...query, after: null, from: 1, ...news }, desk), options);
  };
  const stack = Array.isArray(place.state) ? (place.state as string[]) : [];
  const turn = (ranking: Ranking) =>
    set({ after: ranking.next_page_token, from: of.from + ranking.items.length }, { state: [...stack, location.pathname + location.search] });
  const back = () => (stack.length > 0 ? history.back() : set({}));

  let status = notice;
  if (!status && lost) status = words.list.gone;
  if (!status && fresh) status = <>{words.list.fresh} <button class="link" onClick={reload}>{words.list.show}</button></>;

  return (
    <>
      <Head desk={desk} query={query} of={of} ranking={ranking} />
      {ranking?.stale && <Banner><p><b>{words.list.stale(when(ranking.data?.as_of ?? ranking.ranked_at))}</b> {words.list.staleHint}</p></Banner>}
      {error && !gone && !view ? (
        <Failed desk={desk} query={query} error={error} reload={reload} set={set} />
      ) : (
        <>
          <div class="top">
            <First desk={desk} ranking={ranking} first={of.after === null} />
            <Bands desk={desk} ranking={ranking} path={(band) => listPath({ ...query, band, search: "", after: null, from: 1 }, desk)} />
          </div>
          <Filters desk={desk} query={query} ranking={ranking} set={set} />
          <p class="status" role="status">{status || (ranking && ranking.total_size > 0 ? rangeText(ranking, of) : "")}</p>
          {ranking === null && <Skeleton rows={8} label={words.list.loading} shown={slow} />}
          {ranking && ranking.items.length > 0 && <Rows desk={desk} query={of} items={ranking.items} busy={pending && data === null} />}
          {ranking && ranking.items.length === 0 && <Empty desk={desk} query={of} ranking={ranking} set={set} />}
          {ranking && ranking.items.length > 0 && (
            <nav class="pager" aria-label={rangeText(ranking, of)}>
              <button class="btn slim" disabled={of.after === null} onClick={back}>{words.list.previous}</button>
              <span>{rangeText(ranking, of)}</span>
              <button class="btn slim" disabled={!ranking.next_page_token} onClick={() => turn(ranking)}>{words.list.next}</button>
              <Keys />
            </nav>
          )}
        </>
      )}
    </>
  );
}

const rangeText = (ranking: Ranking, query: Query): string =>
  words.list.range(count(query.from), count(query.from + ranking.items.length - 1), count(ranking.total_size));

/** Looks for a newer list now and then, while somebody looks at the page. */
function useFresh(model: string, ranked: string | null): boolean {
  const [fresh, setFresh] = useState(false);
  useEffect(() => {
    setFresh(false);
    if (ranked === null) return undefined;
    const look = () => {
      if (document.hidden || Date.now() - present > PRESENT) return;
      api.ranking(model, new URLSearchParams({ page_size: "1" })).then(
        (news) => setFresh(news.ranked_at !== ranked),
        () => undefined,
      );
    };
    const timer = setInterval(look, LOOK);
    return () => clearInterval(timer);
  }, [model, ranked]);
  return fresh;
}

function Head({ desk, query, of, ranking }: { desk: Desk; query: Query; of: Query; ranking: Ranking | null }) {
  const text = words.list;
  const [copied, setCopied] = useState(false);
  const narrowed = of.search !== "" || of.filters.length > 0;
  const total = ranking?.total_size ?? 0;
  let title: string = text.title;
  if (ranking) {
    if (narrowed) title = text.match(total, count(total));
    else if (of.band === "") title = text.all(total, count(total));
    else if (of.band === topBand(desk)) title = text.toCall(total, count(total));
    else title = text.inBand(total, count(total), words.bandName(of.band));
  }
  const band = ranking?.bands.find(({ name }) => name === of.band);
  const all = ranking?.bands.reduce((sum, { customers }) => sum + customers, 0) ?? 0;
  const leave = band && band.expected !== null && !narrowed && ranking?.contacted === 0 ? text.leave(count(Math.round(band.expected)), horizon(desk)) : "";
  const copy = () => void navigator.clipboard?.writeText(location.href).then(() => setCopied(true), () => undefined);
  useEffect(() => setCopied(false), [query]);
  return (
    <div class="head">
      <div>
        <h1 tabIndex={-1}>{title}</h1>
        <p>{ranking ? <>{leave} {text.scored(when(ranking.data?.as_of ?? ranking.ranked_at), count(all))}</> : "\u00a0"}</p>
      </div>
      <div class="end">
        <button class="btn" onClick={copy}>{copied ? text.copied : text.copy}</button>
        <button class="btn" onClick={() => print()}>{text.print}</button>
        <a class="btn" href={ownPath(desk)}>{text.own}</a>
        <a class="btn" download href={`${rankingPath(desk.name)}?${rankingQuery(query, desk, "csv")}`}>{text.export}</a>
      </div>
    </div>
  );
}

function Empty({ desk, query, ranking, set }: { desk: Desk; query: Query; ranking: Ranking; set: (news: Partial<Query>) => void }) {
  const text = words.list;
  const handled = hides(query, desk) && query.filters.length === 0 && (ranking.contacted ?? 0) > 0;
  if (handled) {
    const next = byScore(desk)[1];
    const others = ranking.bands.find(({ name }) => name === next?.name)?.customers ?? 0;
    return (
      <Panel id="empty" title={text.allDone(count(ranking.contacted ?? 0))} hint={next && text.allDoneHint(words.bandName(next.name), count(others))}>
        <p class="acts">
          {next && <button class="btn" onClick={() => set({ band: next.name })}>{text.showBand(words.bandName(next.name))}</button>}
          <button class="btn" onClick={() => set({ hide: false })}>{text.showHandled}</button>
        </p>
      </Panel>
    );
  }
  return (
    <Panel id="empty" title={text.noMatch} hint={text.noMatchHint}>
      <p class="acts"><button class="btn" onClick={() => set({ filters: [], search: "", band: topBand(desk) ?? "" })}>{text.dropFilters}</button></p>
    </Panel>
  );
}

function Failed({ desk, query, error, reload, set }: {
  desk: Desk; query: Query; error: NonNullable<ReturnType<typeof useLoad>["error"]>; reload: () => void; set: (news: Partial<Query>) => void;
}) {
  const text = words.list;
  if (error.status === 503) {
    return (
      <Panel id="empty" title={text.computing} hint={text.computingHint}>
        <p class="note">{error.detail}</p>
        <Skeleton rows={5} label={text.loading} shown />
      </Panel>
    );
  }
  // The sources cannot be enumerated: there is no list, but each customer can be looked up.
  if (error.status === 409 || error.detail.includes("/ranking")) {
    return (
      <Panel id="empty" title={text.impossible} hint={text.impossibleHint}>
        <FindOne desk={desk} />
        <p><a class="btn" href={ownPath(desk)}>{text.own}</a></p>
        <p class="note">{error.detail}</p>
      </Panel>
    );
  }
  if (error.status === 400 && query.filters.length > 0) {
    return <Panel id="empty" title={text.noMatch} hint={error.detail}><p class="acts"><button class="btn" onClick={() => set({ filters: [] })}>{text.dropFilters}</button></p></Panel>;
  }
  return <Problem error={error} retry={reload} />;
}

function FindOne({ desk }: { desk: Desk }) {
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const id = new FormData(event.target as HTMLFormElement).get("id");
    if (typeof id === "string" && id.trim()) go(customerPath(id.trim(), desk.named));
  };
  return (
    <form class="filters" role="search" onSubmit={submit}>
      <label class="field find"><span>{words.list.find}</span><input type="search" name="id" autocomplete="off" /></label>
      <button class="btn">{words.list.open}</button>
    </form>
  );
}

function Keys() {
  return (
    <div class="keys">
      {words.help.short.map((keys) => (
        <span key={keys.join()}>{keys.slice(0, -1).map((key) => <><kbd>{key}</kbd> </>)}{keys.at(-1)}</span>
      ))}
      <button class="link" onClick={() => dispatchEvent(new Event("evergreen-keys"))}><kbd>?</kbd> {words.help.all}</button>
    </div>
  );
}

