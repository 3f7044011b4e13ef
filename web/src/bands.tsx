// How many customers are in each band.

import { byScore, type Desk } from "./desk";
import { change, count, rankOf } from "./format";
import { Band } from "./parts";
import { at } from "./charts";
import type { Ranking, RankingBand } from "./types";
import { words } from "./words";

const TODO = { high: words.list.call, medium: words.list.watch, low: words.list.leaveAlone };

/** The bands of a ranking, the highest first. */
export function orderedBands(desk: Desk, bands: readonly RankingBand[]): RankingBand[] {
  return byScore(desk).flatMap(({ name }) => bands.find((band) => band.name === name) ?? []);
}

/** One bar for all customers, divided into bands. */
export function BandBar({ desk, bands }: { desk: Desk; bands: readonly RankingBand[] }) {
  const all = bands.reduce((sum, { customers }) => sum + customers, 0) || 1;
  let start = 0;
  return (
    <svg class="dist" width="100%" height="12" aria-hidden="true">
      {bands.map(({ name, customers }) => {
        const [x, width] = [start, Math.max(customers / all - 0.004, 0)];
        start += customers / all;
        return <rect key={name} class={rankOf(name, desk.bands) ?? "medium"} x={at(x)} width={at(width)} height="12" />;
      })}
    </svg>
  );
}

export function Bands({ desk, ranking, path }: { desk: Desk; ranking: Ranking | null; path: (band: string) => string }) {
  const text = words.list;
  const bands = ranking ? orderedBands(desk, ranking.bands) : [];
  const all = bands.reduce((sum, { customers }) => sum + customers, 0);
  const expected = bands.some((band) => band.expected !== null);
  return (
    <section class="panel bands" aria-labelledby="bands">
      <h2 id="bands">{ranking ? text.allCustomers(count(all)) : "\u00a0"}</h2>
      {ranking && (
        <>
          <BandBar desk={desk} bands={bands} />
          <table>
            <thead>
              <tr>
                <th scope="col">{text.band}</th>
                <th scope="col" class="todo"><span class="sr">{text.todo}</span></th>
                <th scope="col" class="num">{text.customers}</th>
                <th scope="col" class="num">{text.change}<span class="sr"> {text.sinceBefore}</span></th>
                {expected && <th scope="col" class="num">{text.expected}</th>}
              </tr>
            </thead>
            <tbody>
              {bands.map((band) => (
                <tr key={band.name}>
                  <th scope="row"><a class="quiet-link" href={path(band.name)}><Band name={band.name} bands={desk.bands} /></a></th>
                  <td class="quiet nowrap todo">{TODO[rankOf(band.name, desk.bands) ?? "medium"]}</td>
                  <td class="num">{count(band.customers)}</td>
                  <td class="num">{band.change === null ? "–" : change(band.change)}</td>
                  {expected && <td class="num">{band.expected === null ? "–" : count(Math.round(band.expected))}</td>}
                </tr>
              ))}
            </tbody>
          </table>
          {desk.performance !== "off" && <p class="small quiet"><a href={`/model${desk.named ? `?model=${desk.named}` : ""}#calls`}>{text.doCallsHelp}</a></p>}
        </>
      )}
    </section>
  );
}
