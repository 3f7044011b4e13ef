// A list of customers that somebody brings: their ids are pasted or read from a file, and ranked.

import { useEffect, useMemo, useState } from "preact/hooks";
import { api } from "./api";
import type { Desk } from "./desk";
import { count } from "./format";
import { shown } from "./list";
import { useLoad, useSlow } from "./load";
import { Banner, Panel, Skeleton } from "./parts";
import { readQuery, subtitle } from "./query";
import { parseIds } from "./ids";
import { Rows } from "./rows";
import type { Listed } from "./types";
import { words } from "./words";

/** Unknown ids that are named; more are counted. */
const MOST_NAMED = 10;

/** What was pasted last. It stays in memory alone, so that nobody finds it in the browser later. */
let pasted = "";

/** Forgets the list: the next person in this window must not see it. */
export function forgetOwn(): void {
  pasted = "";
  Object.assign(shown, { ids: [], from: 1, of: 0, address: "/" });
}

/** The address of this view. */
export const ownPath = (desk: Desk): string => `/?${new URLSearchParams({ ...(desk.named === null ? {} : { model: desk.named }), own: "" })}`;

export function OwnList({ desk, notice, changed }: { desk: Desk; notice: preact.ComponentChildren; changed: number }) {
  const text = words.own;
  const [typed, setTyped] = useState(pasted);
  const [ids, setIds] = useState(() => parseIds(pasted));
  const found = useMemo(() => parseIds(typed).length, [typed]);
  const query = useMemo(() => ({ ...readQuery(new URLSearchParams(), desk), band: "", hide: false }), [desk]);
  const key = ids.length === 0 ? null : `own ${desk.name} ${desk.version} ${changed} ${ids.join("\n")}`;
  const { data, error, pending } = useLoad<Listed>(key, (signal) => api.rankIds(desk.name, request(desk, ids), signal));
  const slow = useSlow(pending);
  useEffect(() => {
    document.title = `${text.title} – ${words.brand}`;
  }, []);
  useEffect(() => {
    if (data) Object.assign(shown, { ids: data.items.map(({ id }) => id), from: 1, of: data.items.length, address: ownPath(desk) });
  }, [data]);
  const rank = (text: string) => {
    pasted = text;
    setIds(parseIds(text));
  };
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    rank(typed);
  };
  const read = (input: HTMLInputElement) => void input.files?.[0]?.text().then((text) => {
    setTyped(text);
    rank(text);
    // Otherwise the same file could not be chosen again after a change.
    input.value = "";
  });
  const unknown = data?.not_found ?? [];
  return (
    <>
      <div class="head"><div><h1 tabIndex={-1}>{data ? text.ranked(data.items.length, count(data.items.length)) : text.title}</h1><p>{text.hint}</p></div></div>
      <Panel id="own" className="own" title={text.ids} hint={text.idsHint}>
        <form onSubmit={submit}>
          <div class="field"><textarea aria-label={text.ids} rows={5} value={typed} spellcheck={false} autocomplete="off" onInput={(event) => setTyped(event.currentTarget.value)} /></div>
          <p class="acts">
            <button class="btn main" disabled={found === 0}>{text.rank(count(found))}</button>
            <label class="btn file">{text.file}<input type="file" accept=".csv,.txt,.tsv,text/csv,text/plain" onChange={(event) => read(event.currentTarget)} /></label>
          </p>
        </form>
      </Panel>
      <p class="status" role="status">{notice || (unknown.length > 0 ? text.unknown(unknown.length, count(unknown.length), named(unknown)) : "")}</p>
      {error && <Banner><p><b>{words.state.failed}</b> {error.detail}</p></Banner>}
      {key !== null && !data && !error && <Skeleton rows={5} label={words.list.loading} shown={slow} />}
      {data && data.items.length > 0 && <Rows desk={desk} query={query} items={data.items} busy={pending} />}
    </>
  );
}

const named = (ids: readonly string[]): string => ids.slice(0, MOST_NAMED).join(", ") + (ids.length > MOST_NAMED ? ", …" : "");

function request(desk: Desk, ids: string[]): unknown {
  const features = subtitle(desk);
  const fields = ["rank", "id", "score", "band", "change", "hold_out", "reasons"];
  if (desk.performance !== "off") fields.push("contact");
  if (features.length > 0) fields.push("features");
  return { ids, fields, reasons: 3, ...(features.length > 0 ? { features } : {}) };
}
