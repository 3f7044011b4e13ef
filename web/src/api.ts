// Calls of the REST API: errors as one type, one place that learns of a lost session or connection, and notes that wait
// for the connection.

import type {
  Changes, Drift, FeatureValues, Listed, Model, ModelLine, Outcome, Performance, Ranking, RankingItem, Score, ScoreHistory, ScoreOne,
  Session, Value, WhatIf,
} from "./types";

/** Why a call has no answer. `status` 0 means that the server could not be reached. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly kind: string,
    readonly detail: string,
    /** Seconds after which a retry may succeed. */
    readonly retryAfter: number | null,
  ) {
    super(detail);
  }
}

const TIMEOUT = 30_000;

type Listener = (state: Connection) => void;

/** What the page knows about the server. */
export interface Connection {
  reachable: boolean;
  /** When the last answer came. */
  heardAt: Date | null;
  signedOut: boolean;
  waiting: number;
  /** The customer of a note that the server has refused. */
  refused: string | null;
}

let connection: Connection = { reachable: true, heardAt: null, signedOut: false, waiting: 0, refused: null };
const listeners = new Set<Listener>();

export function watchConnection(listener: Listener): () => void {
  listeners.add(listener);
  listener(connection);
  return () => listeners.delete(listener);
}

function learn(news: Partial<Connection>): void {
  connection = { ...connection, ...news };
  listeners.forEach((listener) => listener(connection));
}

/** Forgets that the session ended, after a new sign-in. */
export function signedIn(): void {
  learn({ signedOut: false });
}

async function call<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const timeout = AbortSignal.timeout(TIMEOUT);
  const init: RequestInit = {
    method,
    credentials: "same-origin",
    cache: "no-store",
    headers: body === undefined ? {} : { "content-type": "application/json" },
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
  };
  if (body !== undefined) init.body = JSON.stringify(body);
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (signal?.aborted) throw error;
    learn({ reachable: false });
    throw new ApiError(0, "unreachable", "", null);
  }
  learn({ reachable: true, heardAt: new Date() });
  if (response.ok) return (response.status === 204 ? undefined : await response.json()) as T;
  const problem = (await response.json().catch(() => ({}))) as { type?: string; detail?: string };
  const wait = Number(response.headers.get("retry-after"));
  if (response.status === 401 && path !== "/v1/session") learn({ signedOut: true });
  throw new ApiError(
    response.status,
    problem.type?.split(":").pop() ?? "unknown",
    problem.detail ?? response.statusText,
    Number.isFinite(wait) && wait > 0 ? wait : null,
  );
}

const get = <T>(path: string, signal?: AbortSignal) => call<T>("GET", path, undefined, signal);
const part = encodeURIComponent;
/** Whole numbers are ids, too; addresses and comparisons take texts. */
const textId = (item: RankingItem): RankingItem => ({ ...item, id: String(item.id) });

/** More than a contract has groups, so that the reasons of a customer are all of them. */
const MOST_REASONS = 50;

export const api = {
  session: () => get<Session>("/v1/session"),
  signIn: (key: string) => call<void>("POST", "/v1/session", { key }),
  signOut: () => call<void>("DELETE", "/v1/session"),
  models: (signal?: AbortSignal) => get<{ models: ModelLine[] }>("/v1/models", signal),
  model: (name: string, signal?: AbortSignal) => get<Model>(`/v1/models/${part(name)}`, signal),
  ranking: async (name: string, query: URLSearchParams, signal?: AbortSignal) => {
    const ranking = await get<Ranking>(`${rankingPath(name)}?${query}`, signal);
    return { ...ranking, items: ranking.items.map(textId) };
  },
  rankIds: async (name: string, request: unknown, signal?: AbortSignal) => {
    const listed = await call<Listed>("POST", rankingPath(name), request, signal);
    return { ...listed, items: listed.items.map(textId), not_found: listed.not_found.map(String) };
  },
  score: async (model: string, id: string, signal?: AbortSignal) => {
    const score = await get<ScoreOne>(`/v1/models/${part(model)}/scores/${part(id)}?explain=${MOST_REASONS}`, signal);
    return { ...score, id };
  },
  values: (model: string, id: string, signal?: AbortSignal) =>
    get<FeatureValues>(`/v1/models/${part(model)}/features/${part(id)}`, signal),
  changes: (model: string, id: string, signal?: AbortSignal) =>
    get<Changes>(`/v1/models/${part(model)}/scores/${part(id)}/changes?explain=4`, signal),
  history: (model: string, id: string, signal?: AbortSignal) =>
    get<ScoreHistory>(`/v1/models/${part(model)}/scores/${part(id)}/history`, signal),
  outcomes: (model: string, id: string, signal?: AbortSignal) =>
    get<{ outcomes: Outcome[] }>(`/v1/outcomes?${new URLSearchParams({ customer: id, model })}`, signal),
  tryValues: (model: string, id: string, features: Record<string, Value>, signal?: AbortSignal) =>
    call<{ results: Score[] }>("POST", "/v1/score", { model, entities: [{ id, features }], explain: 3 }, signal),
  whatIf: (model: string, id: string, signal?: AbortSignal) =>
    call<WhatIf>("POST", `/v1/models/${part(model)}/what-if`, { id, features: {}, pairs: true }, signal),
  drift: (model: string, signal?: AbortSignal) => get<Drift>(`/v1/models/${part(model)}/drift`, signal),
  performance: (model: string, signal?: AbortSignal) => get<Performance>(`/v1/models/${part(model)}/performance`, signal),
};

export function rankingPath(model: string): string {
  return `/v1/models/${part(model)}/ranking`;
}

/** What was done about a customer, and what became of it. */
export interface Note {
  id: string;
  customer: string;
  model: string;
  action: "call" | "offer" | "none";
  detail?: string;
  result?: "stayed" | "left";
  time: string;
}

/** Notes that could not be sent yet. They have ids of their own, so one that was sent twice counts once. */
const waiting: Note[] = [];

/** The loop that sends them: there is one at most. */
let sending: Promise<void> | null = null;

/** Sends a note, or keeps it until the server can be reached; returns whether it was sent. */
export async function record(note: Note): Promise<boolean> {
  try {
    await call("POST", "/v1/outcomes", { outcomes: [note] });
    return true;
  } catch (error) {
    // The server is away, or the session has ended: the note is sent when there is one again.
    if (!(error instanceof ApiError) || ![0, 401].includes(error.status)) throw error;
    waiting.push(note);
    learn({ waiting: waiting.length });
    return false;
  }
}

/** Sends the notes that wait, as long as the server takes them. */
export function sendWaiting(): Promise<void> {
  sending ??= sendAll().finally(() => {
    sending = null;
  });
  return sending;
}

async function sendAll(): Promise<void> {
  for (let note = waiting[0]; note; note = waiting[0]) {
    try {
      await call("POST", "/v1/outcomes", { outcomes: [note] });
    } catch (error) {
      // What the server refuses for good must not hold up the others; a note that meets a sign-out or a busy server waits.
      const refused = error instanceof ApiError && [400, 403, 413].includes(error.status);
      if (!refused) throw error;
      learn({ refused: note.customer });
    }
    waiting.splice(waiting.indexOf(note), 1);
    learn({ waiting: waiting.length });
  }
}

/** Whose notes wait. */
let owner: string | null = null;

/** Says who is signed in. Notes that another one has left are forgotten: they must not be sent in a wrong name. */
export function belongTo(client: string | null): void {
  if (owner !== null && owner !== client) {
    waiting.length = 0;
    learn({ waiting: 0 });
  }
  owner = client;
}

/** Forgets that a note was refused. */
export function seenRefused(): void {
  learn({ refused: null });
}

/** Asks whether the server is there again. */
export async function tryAgain(): Promise<void> {
  try {
    await api.session();
    await sendWaiting();
  } catch {
    // The banner stays.
  }
}

addEventListener("online", () => void tryAgain());
setInterval(() => {
  if (!connection.reachable || waiting.length > 0) void tryAgain();
}, 15_000);
addEventListener("beforeunload", (event) => {
  if (waiting.length > 0) event.preventDefault();
});
