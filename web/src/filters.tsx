// The filters of the list. All of them are in the address.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { byScore, type Desk } from "./desk";
import { category, count, rankOf } from "./format";
import { useNarrow } from "./load";
import { Leaf } from "./parts";
import { hides, ORDERS, type Order, type Query } from "./query";
import { customerPath, go } from "./router";
import type { Feature, Ranking } from "./types";
import { words } from "./words";

type Set = (news: Partial<Query>, options?: { replace?: boolean }) => void;

/** Categories with at most this many values get a list of their own. */
const MOST_CHOICES = 12;
/** Lists beside the other filters; more would take a second line. */
const LISTS = 2;
const OPERATORS = ["=", "!=", "<", "<=", ">", ">="] as const;
const SIGNS: Record<string, string> = { "!=": "≠", "<=": "≤", ">=": "≥" };

const lists = (desk: Desk): Feature[] =>
  desk.features
    .filter(({ type, categories }) => type === "category" && (categories?.length ?? 0) > 1 && (categories?.length ?? 0) <= MOST_CHOICES)
    .slice(0, LISTS);

export function Filters({ desk, query, ranking, set }: { desk: Desk; query: Query; ranking: Ranking | null; set: Set }) {
  const text = words.list;
  const band = query.search ? "" : query.band;
  const chosen = (feature: Feature) => query.filters.find((filter) => filter.startsWith(`${feature.name}=`));
  const choose = (feature: Feature, value: string) => {
    const others = query.filters.filter((filter) => filter !== chosen(feature));
    set({ filters: value ? [...others, `${feature.name}=${value}`] : others });
  };
  const narrow = useNarrow();
  const listed = lists(desk);
  const others = query.filters.filter((filter) => !listed.some((feature) => filter === chosen(feature)));
  const selects = (
    <>
      {listed.map((feature) => (
        <label key={feature.name} class="field sel">
          <span title={feature.label}>{feature.label}</span>
          <select aria-label={feature.label} value={chosen(feature)?.slice(feature.name.length + 1) ?? ""} onChange={(event) => choose(feature, event.currentTarget.value)}>
            <option value="">{text.every}</option>
            {feature.categories?.map((name) => <option key={name} value={name}>{category(name)}</option>)}
          </select>
        </label>
      ))}
      <label class="field sel">
        <span>{text.order}</span>
        <select aria-label={text.order} value={query.order} onChange={(event) => set({ order: event.currentTarget.value as Order })}>
          {ORDERS.map((order) => <option key={order} value={order}>{text.orders[order]}</option>)}
        </select>
      </label>
    </>
  );
  return (
    <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
      {desk.bands.length > 1 && (
        <fieldset class="field">
          <legend class="sr">{text.band}</legend>
          <div class="seg">
            {byScore(desk).map(({ name }) => (
              <label key={name}>
                <input type="radio" name="band" checked={band === name} onChange={() => set({ band: name, search: "" })} />
                <Leaf rank={rankOf(name, desk.bands) ?? "medium"} />
                {words.bandName(name)}
              </label>
            ))}
            <label><input type="radio" name="band" checked={band === ""} onChange={() => set({ band: "", search: "" })} />{text.every}</label>
          </div>
        </fieldset>
      )}
      <Find desk={desk} query={query} ranking={ranking} set={set} />
      {!narrow && selects}
      {desk.performance !== "off" && (
        <label class="check" title={text.hideHint}>
          <input type="checkbox" checked={query.hide} onChange={(event) => set({ hide: event.currentTarget.checked })} />
          {text.hide(hides(query, desk) && ranking?.contacted ? count(ranking.contacted) : null)}
        </label>
      )}
      <More desk={desk} query={query} others={others} set={set}>{narrow && selects}</More>
    </form>
  );
}

function Find({ desk, query, ranking, set }: { desk: Desk; query: Query; ranking: Ranking | null; set: Set }) {
  const [typed, setTyped] = useState(query.search);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => setTyped(query.search), [query.search]);
  const type = (text: string) => {
    setTyped(text);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => set({ search: text.trim() }, { replace: true }), 250);
  };
  const open = (event: KeyboardEvent) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    const exact = ranking?.items.find(({ id }) => id.toLowerCase() === typed.trim().toLowerCase());
    const only = query.search === typed.trim() && ranking?.items.length === 1 ? ranking.items[0] : undefined;
    const found = exact ?? only;
    clearTimeout(timer.current);
    if (found) go(customerPath(found.id, desk.named));
    else set({ search: typed.trim() });
  };
  return (
    <label class="field find">
      <span>{words.list.find}</span>
      <input
        type="search" id="find" value={typed} placeholder={ranking?.items[0] ? words.list.example(ranking.items[0].id) : ""} autocomplete="off" spellcheck={false} maxLength={128}
        onInput={(event) => type(event.currentTarget.value)} onKeyDown={open}
      />
    </label>
  );
}

function More({ desk, query, others, set, children }: { desk: Desk; query: Query; others: string[]; set: Set; children: ComponentChildren }) {
  const text = words.list;
  const [name, setName] = useState(desk.features[0]?.name ?? "");
  const [operator, setOperator] = useState<string>(">=");
  const [value, setValue] = useState("");
  const feature = desk.features.find((known) => known.name === name);
  const choices = feature?.type === "bool" ? ["true", "false"] : feature?.categories;
  const add = () => {
    const wanted = value || choices?.[0];
    if (!wanted) return;
    const sign = choices && !["=", "!="].includes(operator) ? "=" : operator;
    set({ filters: [...query.filters.filter((filter) => filter !== `${name}${sign}${wanted}`), `${name}${sign}${wanted}`].slice(-8) });
    setValue("");
  };
  return (
    <details class="more" open={others.length > 0}>
      <summary>{text.more}</summary>
      {children && <div class="more-row">{children}</div>}
      <div class="more-row">
        <label class="field wide">
          <span>{text.feature}</span>
          <select aria-label={text.feature} value={name} onChange={(event) => { setName(event.currentTarget.value); setValue(""); }}>
            {desk.features.map((known) => <option key={known.name} value={known.name}>{known.label}</option>)}
          </select>
        </label>
        <label class="field tiny">
          <span>{text.compare}</span>
          <select aria-label={text.compare} value={choices && !["=", "!="].includes(operator) ? "=" : operator} onChange={(event) => setOperator(event.currentTarget.value)}>
            {(choices ? OPERATORS.slice(0, 2) : OPERATORS).map((sign) => <option key={sign} value={sign}>{SIGNS[sign] ?? sign}</option>)}
          </select>
        </label>
        <label class="field">
          <span>{text.with}</span>
          {choices ? (
            <select aria-label={text.with} value={value || choices[0]} onChange={(event) => setValue(event.currentTarget.value)}>
              {choices.map((choice) => <option key={choice} value={choice}>{choice === "true" ? words.yes : choice === "false" ? words.no : category(choice)}</option>)}
            </select>
          ) : (
            <input type={feature?.type === "timestamp" ? "date" : "number"} step="any" value={value} onInput={(event) => setValue(event.currentTarget.value)} />
          )}
        </label>
        <button class="btn" type="button" onClick={add}>{text.add}</button>
        {others.map((filter) => (
          <button key={filter} class="btn chip" type="button" onClick={() => set({ filters: query.filters.filter((known) => known !== filter) })}
            aria-label={text.drop(filterText(filter, desk))}>
            {filterText(filter, desk)} <span aria-hidden="true">×</span>
          </button>
        ))}
      </div>
    </details>
  );
}

/** A filter in words: “Visits to the site, last 30 days ≥ 4”. */
function filterText(filter: string, desk: Desk): string {
  const found = /^([^=!<>]+)(=|!=|<=|>=|<|>)(.*)$/.exec(filter);
  if (!found) return filter;
  const [, name = "", sign = "", value = ""] = found;
  const label = desk.features.find((feature) => feature.name === name)?.label ?? name;
  return `${label} ${SIGNS[sign] ?? sign} ${value === "true" ? words.yes : value === "false" ? words.no : value}`;
}
