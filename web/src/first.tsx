// The card “Call first”: who, why, and what to say.

import type { Desk } from "./desk";
import { ofHundred } from "./format";
import { Band, Say } from "./parts";
import { opening, raising, usualClause } from "./reasons";
import { customerPath } from "./router";
import type { Ranking, RankingItem, Reason } from "./types";
import { words } from "./words";

/** The reason as one line; what is usual only where the value is not. */
export function ReasonLine({ reason }: { reason: Reason }) {
  const usual = reason.usual;
  const telling = usual && usual.missing <= 0.5 && typeof usual.low === "number" && typeof reason.value === "number" && reason.value >= 0;
  const clause = telling ? usualClause(reason.value, usual, reason.unit) : null;
  return <>{reason.phrase}{clause && <small> ({clause})</small>}</>;
}

export function First({ desk, ranking, first }: { desk: Desk; ranking: Ranking | null; first: boolean }) {
  const text = words.list;
  // Nobody is to contact the control group, so they are never the first to call.
  const item = ranking?.items.find(({ hold_out }) => !hold_out);
  if (!first) return null;
  return (
    <section class="panel first" aria-labelledby="first">
      <h2 id="first" class={item ? undefined : "quiet"}>{text.first}</h2>
      {item ? <Card desk={desk} item={item} /> : <div class="room" />}
    </section>
  );
}

function Card({ desk, item }: { desk: Desk; item: RankingItem }) {
  const text = words.list;
  const reasons = raising(item.reasons ?? []).slice(0, 3);
  const { say, from } = opening(item.reasons ?? []);
  const ready = from?.advice ?? null;
  const secret = reasons.find((reason) => !reason.say && reason.advice) ?? null;
  const path = customerPath(item.id, desk.named);
  const link = desk.linkOf(item.id);
  return (
    <>
      <div class="who-why">
        <p class="id">
          <a href={path}>{item.id}</a>
          {desk.shares && <span>{text.toLeave} <b>{ofHundred(item.score, desk.bands)}</b> {words.inHundred}</span>}
          <Band name={item.band} bands={desk.bands} />
        </p>
        <ul class="why">{reasons.map((reason) => <li key={reason.feature}><ReasonLine reason={reason} /></li>)}</ul>
        <div class="acts">
          {desk.mayRecord && <button class="btn main" onClick={() => desk.note(item.id, false)}>{text.noteCall}</button>}
          <a class={desk.mayRecord ? "btn" : "btn main"} href={path}>{text.open}<span class="sr"> {item.id}</span></a>
          {link && <a class="btn" href={link} target="_blank" rel="noopener noreferrer">{words.customer.elsewhere}</a>}
        </div>
      </div>
      <div class="talk-first">
        <h3>{text.say}</h3>
        <Say>{say}</Say>
        <dl class="ready">
          {ready && <><dt>{text.ready}</dt><dd>{ready}</dd></>}
          {secret && <><dt>{text.secret}</dt><dd>{secret.phrase}. {secret.advice}</dd></>}
        </dl>
      </div>
    </>
  );
}
