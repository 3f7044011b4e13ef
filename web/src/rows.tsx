// The table of customers.

import { useMemo } from "preact/hooks";
import type { Desk } from "./desk";
import { category, count, date, figure, ofHundred, points, value } from "./format";
import { ReasonLine } from "./first";
import { Band, Meter } from "./parts";
import { subtitle, type Query } from "./query";
import { commonplace, raising } from "./reasons";
import { customerPath } from "./router";
import type { Contact, RankingItem } from "./types";
import { words } from "./words";

/** Changes below this many points of 100 are noise. */
const NOISE = 2;

export function Rows({ desk, query, items, busy }: { desk: Desk; query: Query; items: readonly RankingItem[]; busy: boolean }) {
  const text = words.list;
  const sorted = query.order.startsWith("score") ? (query.order.endsWith("desc") ? "descending" : "ascending") : "none";
  const common = useMemo(() => commonplace(items), [items]);
  const arrow = sorted === "descending" ? " ↓" : sorted === "ascending" ? " ↑" : "";
  return (
    <table class="list" role="table" aria-label={text.caption(text.orders[query.order])} aria-busy={busy}>
      <thead role="rowgroup">
        <tr role="row">
          <th role="columnheader" scope="col" class="n"><span class="sr">{text.rank}</span></th>
          <th role="columnheader" scope="col" class="c">{text.customer}</th>
          <th role="columnheader" scope="col" class="s" aria-sort={sorted}>{text.likely}{arrow}</th>
          <th role="columnheader" scope="col" class="w">{text.why}</th>
          <th role="columnheader" scope="col" class="d">{text.since}</th>
          <th role="columnheader" scope="col" class="k">{text.contact}</th>
          <th role="columnheader" scope="col" class="a"><span class="sr">{text.action}</span></th>
          <th role="columnheader" scope="col" class="only-print">{text.outcome}</th>
        </tr>
      </thead>
      <tbody role="rowgroup">{items.map((item) => <Row key={item.id} desk={desk} item={item} common={common} />)}</tbody>
    </table>
  );
}

function Row({ desk, item, common }: { desk: Desk; item: RankingItem; common: string | null }) {
  const text = words.list;
  const reasons = raising(item.reasons ?? []).slice(0, 3);
  const striking = reasons.find(({ feature }) => feature !== common) ?? reasons[0];
  return (
    <tr role="row" data-id={item.id} data-held={item.hold_out ? "" : undefined}>
      <td role="cell" class="n">{count(item.rank)}</td>
      <th role="rowheader" scope="row" class="c">
        <a href={customerPath(item.id, desk.named)}>{item.id}</a>
        <span>{facts(desk, item)}</span>
        {item.hold_out && <span class="part" title={text.holdOutLong}>{text.holdOut}</span>}
      </th>
      <td role="cell" class="s">
        <div class="val">
          <span><b>{desk.shares ? ofHundred(item.score, desk.bands) : figure(item.score)}</b>{desk.shares && <small> {words.inHundred}</small>}</span>
          <Band name={item.band} bands={desk.bands} />
        </div>
        {desk.shares && <Meter score={item.score} band={item.band} bands={desk.bands} />}
      </td>
      <td role="cell" class="w">
        {reasons.length > 0 ? <ul>{reasons.map((reason) => <li key={reason.feature} class={reason === striking ? "striking" : undefined}><ReasonLine reason={reason} /></li>)}</ul> : <span class="quiet">{text.nothingRaises}</span>}
      </td>
      <Moved desk={desk} item={item} />
      <td role="cell" class="k"><LastContact contact={item.contact ?? null} /></td>
      <td role="cell" class="a">
        {desk.mayRecord && !item.hold_out && (
          <button class="btn slim" onClick={() => desk.note(item.id, false)}>{text.note}<span class="sr"> {text.noteOn(item.id)}</span></button>
        )}
      </td>
      <td role="cell" class="only-print" />
    </tr>
  );
}

/** The plan and the price of a customer, or what the model has instead. */
function facts(desk: Desk, item: RankingItem): string {
  const texts = subtitle(desk).flatMap((name) => {
    const feature = desk.features.find((known) => known.name === name);
    const found = item.features?.[name];
    if (!feature || found === undefined || found === null) return [];
    return typeof found === "string" ? category(found) : value(found, words, feature.unit);
  });
  return texts.join(", ");
}

function Moved({ desk, item }: { desk: Desk; item: RankingItem }) {
  const text = words.list;
  if (!item.change) return <td role="cell" class="d same-row"><span class="quiet"><span aria-hidden="true">–</span><span class="sr">{text.notBefore}</span></span></td>;
  const moved = points(item.score, item.change.score);
  const band = item.change.band && item.change.band !== item.band ? text.fromBand(words.bandName(item.change.band)) : null;
  if (!desk.shares || (Math.abs(moved) < NOISE && !band)) return <td role="cell" class="d same-row"><span class="quiet">{text.noChange}</span></td>;
  const size = count(Math.abs(moved));
  return (
    <td role="cell" class="d">
      {moved !== 0 && (
        <b class={moved > 0 ? "up" : "down"}>
          <span aria-hidden="true">{moved > 0 ? "▲" : "▼"} {size}</span>
          <span class="sr">{moved > 0 ? text.up(size) : text.down(size)}</span>
        </b>
      )}
      {band && <span class="quiet"> {band}</span>}
    </td>
  );
}

/** The last contact and what came of it. */
export function LastContact({ contact }: { contact: Contact | null }) {
  const { note, list } = words;
  const done = contact?.action === "call" ? note.call_ : contact?.action === "offer" ? note.offer_ : null;
  const became = contact?.result === "stayed" ? note.stayed : contact?.result === "left" ? note.leftThen : null;
  if (!contact || (!done && !became)) return <span class="quiet">{list.noContact}</span>;
  const at = done ? contact.time : contact.result_time;
  return (
    <>
      {at && <span class="nowrap">{date(at)}</span>}{done && ` · ${done}`}
      {(became || contact.detail) && <span class="quiet more-line">{[became, contact.detail].filter(Boolean).join(": ")}</span>}
    </>
  );
}
