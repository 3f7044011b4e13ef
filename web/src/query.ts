// The filters of the list in the address of the page, and in the request to the server.

import { HIDE_DAYS, topBand, type Desk } from "./desk";

export const ORDERS = ["score desc", "change desc", "change asc", "score asc"] as const;
export type Order = (typeof ORDERS)[number];

/** What the list shows. `band` is empty for all. */
export interface Query {
  band: string;
  search: string;
  order: Order;
  hide: boolean;
  filters: string[];
  /** The token of a later page, and the place of its first row. */
  after: string | null;
  from: number;
}

const PAGE_SIZE = 50;
const MOST_FILTERS = 8;

export function readQuery(place: URLSearchParams, desk: Desk): Query {
  const order = ORDERS.find((known) => known === place.get("order")?.replace("-", " ")) ?? "score desc";
  const from = Number(place.get("from"));
  const after = place.get("after");
  return {
    band: place.get("band") ?? topBand(desk) ?? "",
    search: place.get("find") ?? "",
    order,
    hide: place.get("handled") !== "shown",
    filters: place.getAll("f").slice(0, MOST_FILTERS),
    after,
    from: after !== null && Number.isInteger(from) && from > 0 ? from : 1,
  };
}

/** The address of the list with these filters. Defaults are left out. */
export function listPath(query: Query, desk: Desk): string {
  const place = new URLSearchParams();
  if (desk.named !== null) place.set("model", desk.named);
  if (query.band !== (topBand(desk) ?? "")) place.set("band", query.band);
  if (query.search) place.set("find", query.search);
  if (query.order !== "score desc") place.set("order", query.order.replace(" ", "-"));
  if (!query.hide) place.set("handled", "shown");
  query.filters.forEach((filter) => place.append("f", filter));
  if (query.after !== null) {
    place.set("after", query.after);
    place.set("from", String(query.from));
  }
  const text = place.toString();
  return text ? `/?${text}` : "/";
}

/** The features under a customer's id: the first category, and what they pay. */
export function subtitle(desk: Desk): string[] {
  const category = desk.features.find(({ type }) => type === "category");
  const price = desk.features.find(({ unit, type }) => type === "float" && unit !== undefined && /^([A-Z]{3}|[€$£])$/.test(unit));
  return [category, price].flatMap((feature) => (feature ? [feature.name] : []));
}

/** Whether customers with a contact are left out. A search looks through all customers. */
export const hides = (query: Query, desk: Desk): boolean =>
  query.hide && query.search === "" && desk.performance !== "off";

/** The parameters of the request for a page, or for an export of all pages. */
export function rankingQuery(query: Query, desk: Desk, format: "json" | "csv"): URLSearchParams {
  const wanted = new URLSearchParams();
  // Who looks for a customer wants to find them in any band.
  if (query.band && !query.search) wanted.set("band", query.band);
  if (query.search) wanted.set("search", query.search);
  query.filters.forEach((filter) => wanted.append("filter", filter));
  wanted.set("order_by", query.order);
  if (hides(query, desk)) wanted.set("hide_contacted_days", String(HIDE_DAYS));
  const features = subtitle(desk);
  const fields = ["rank", "id", "score", "band", "change", "contact", "hold_out", "reasons"];
  wanted.set("fields", (features.length > 0 ? [...fields, "features"] : fields).join());
  if (features.length > 0) wanted.set("features", features.join());
  wanted.set("reasons", format === "csv" ? "3" : "5");
  if (format === "csv") wanted.set("format", "csv");
  else wanted.set("page_size", String(PAGE_SIZE));
  if (format === "json" && query.after !== null) wanted.set("page_token", query.after);
  return wanted;
}
