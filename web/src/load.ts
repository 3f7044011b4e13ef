// Loading of data for a view: the last answer stays until the next one is there, and outdated requests are cancelled.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "./api";

export interface Loaded<T> {
  data: T | null;
  error: ApiError | null;
  /** Whether the answer to the present key is still to come. */
  pending: boolean;
  reload: () => void;
}

const KEPT = 20;
const kept = new Map<string, unknown>();

function keep(key: string, data: unknown): void {
  kept.delete(key);
  kept.set(key, data);
  const oldest = kept.keys().next().value;
  if (kept.size > KEPT && oldest !== undefined) kept.delete(oldest);
}

/** Forgets every answer, as after a sign-out or a note. */
export const forget = (): void => kept.clear();

/**
 * Loads what `key` names; null loads nothing. A failure is tried again after the time that the server names. An answer
 * that was here before is shown at once and replaced.
 */
export function useLoad<T>(key: string | null, load: (signal: AbortSignal) => Promise<T>): Loaded<T> {
  const [, redraw] = useState(0);
  const [round, setRound] = useState(0);
  const state = useRef<{ key: string | null; data: T | null; error: ApiError | null; pending: boolean }>({
    key: null, data: null, error: null, pending: true,
  });
  const latest = useRef(load);
  latest.current = load;
  if (state.current.key !== key) {
    const known = key === null ? undefined : (kept.get(key) as T | undefined);
    state.current = { key, data: known ?? null, error: null, pending: key !== null };
  }
  useEffect(() => {
    if (key === null) return undefined;
    const control = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const settle = (news: { data?: T; error: ApiError | null }) => {
      state.current = { ...state.current, ...news, pending: false };
      redraw((n) => n + 1);
    };
    latest.current(control.signal).then(
      (data) => {
        if (control.signal.aborted) return;
        keep(key, data);
        settle({ data, error: null });
      },
      (error: unknown) => {
        if (control.signal.aborted) return;
        const problem = error instanceof ApiError ? error : new ApiError(-1, "page", String(error), null);
        settle({ error: problem });
        const wait = problem.status === 0 ? 15 : problem.retryAfter;
        if (wait !== null) timer = setTimeout(() => setRound((n) => n + 1), Math.min(wait, 60) * 1000);
      },
    );
    return () => {
      control.abort();
      clearTimeout(timer);
    };
  }, [key, round]);
  const reload = useCallback(() => setRound((n) => n + 1), []);
  return { ...state.current, reload };
}

const NARROW = matchMedia("(max-width: 48rem)");

/** Whether the screen is as narrow as a phone's. */
export function useNarrow(): boolean {
  const [narrow, setNarrow] = useState(NARROW.matches);
  useEffect(() => {
    const update = () => setNarrow(NARROW.matches);
    NARROW.addEventListener("change", update);
    return () => NARROW.removeEventListener("change", update);
  }, []);
  return narrow;
}

/** Whether something takes so long that people should be told: from 300 ms on. */
export function useSlow(pending: boolean): boolean {
  const [slow, setSlow] = useState(false);
  useEffect(() => {
    setSlow(false);
    if (!pending) return undefined;
    const timer = setTimeout(() => setSlow(true), 300);
    return () => clearTimeout(timer);
  }, [pending]);
  return pending && slow;
}
