// Addresses of the page: every view and filter is in the URL, so that links and the back button work.

import { useEffect, useState } from "preact/hooks";

export interface Place { path: string; query: URLSearchParams; state: unknown }

const here = (): Place => ({
  path: location.pathname,
  query: new URLSearchParams(location.search),
  state: history.state as unknown,
});

const listeners = new Set<() => void>();
const tell = () => listeners.forEach((listener) => listener());
addEventListener("popstate", tell);

/** Goes to an address of the page. `replace` leaves no entry in the history, for what is typed letter by letter. */
export function go(to: string, options: { replace?: boolean; state?: unknown } = {}): void {
  const moves = new URL(to, location.href).pathname !== location.pathname;
  if (options.replace) history.replaceState(options.state ?? null, "", to);
  else history.pushState(options.state ?? null, "", to);
  tell();
  if (moves) scrollTo(0, 0);
}

export function usePlace(): Place {
  const [place, setPlace] = useState(here);
  useEffect(() => {
    const update = () => setPlace(here());
    listeners.add(update);
    return () => void listeners.delete(update);
  }, []);
  return place;
}

/** Lets a link of the page change the view without loading the page anew. */
export function follow(event: MouseEvent): void {
  const link = (event.target as Element).closest("a");
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!link || !plain || event.defaultPrevented || link.target || link.hasAttribute("download")) return;
  const url = new URL(link.href);
  const inside = url.pathname === "/" || url.pathname === "/model" || url.pathname.startsWith("/customers/");
  if (url.origin !== location.origin || !inside) return;
  if (url.hash && url.pathname === location.pathname) return;
  event.preventDefault();
  go(url.pathname + url.search + url.hash);
}

export function customerPath(id: string, model: string | null): string {
  const query = model === null ? "" : `?${new URLSearchParams({ model })}`;
  return `/customers/${encodeURIComponent(id)}${query}`;
}
