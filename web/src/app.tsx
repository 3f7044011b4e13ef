// The frame around the views: sign-in, the model, notes, keys and the state of the connection.

import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { api, ApiError, belongTo, seenRefused, signedIn, tryAgain, type Connection, watchConnection } from "./api";
import { Customer } from "./customer";
import type { Desk } from "./desk";
import { timeOfDay } from "./format";
import { Help, useKeys } from "./help";
import { List } from "./list";
import { forget, useLoad, useSlow } from "./load";
import { ModelView } from "./model";
import { NoteDialog, type Noted } from "./note";
import { forgetOwn, OwnList } from "./own";
import { Mark, Panel, Problem, Skeleton } from "./parts";
import { follow, go, usePlace } from "./router";
import { SignIn } from "./signin";
import type { Model, ModelLine, Performance, Session } from "./types";
import { languages, setLanguage, words } from "./words";

type SessionState = Session | "unknown" | "none";

export function App() {
  const [session, setSession] = useState<SessionState>("unknown");
  const [error, setError] = useState<ApiError | null>(null);
  const [connection, setConnection] = useState<Connection | null>(null);
  const ask = useCallback(() => {
    setError(null);
    api.session().then(
      // Every session may read something.
      (found) => {
        if (found.roles.length > 0) belongTo(found.client ?? "");
        setSession(found.roles.length > 0 ? found : "none");
      },
      (problem: unknown) => {
        if (problem instanceof ApiError) setError(problem);
      },
    );
  }, []);
  useEffect(ask, []);
  useEffect(() => watchConnection(setConnection), []);
  useEffect(() => {
    document.documentElement.lang = words.language;
  }, []);
  const entered = () => {
    signedIn();
    forget();
    forgetOwn();
    ask();
  };
  const leave = () => void api.signOut().catch(() => undefined).then(() => {
    forget();
    forgetOwn();
    setSession("none");
  });
  const open = typeof session === "object" && !connection?.signedOut;
  return (
    <div onClick={follow}>
      <a class="skip" href="#main">{words.skip}</a>
      {open ? <SignedIn session={session} leave={leave} /> : (
        <>
          <Bar />
          <main id="main" class="narrow" tabIndex={-1}>
            {error && <Problem error={error} retry={ask} alone />}
            {(session === "none" || connection?.signedOut) && <SignIn ended={connection?.signedOut === true} entered={entered} />}
          </main>
        </>
      )}
      <Snag connection={connection} />
    </div>
  );
}

function SignedIn({ session, leave }: { session: Session; leave: () => void }) {
  const place = usePlace();
  const models = useLoad<{ models: ModelLine[] }>("models", (signal) => api.models(signal));
  const live = models.data?.models.filter(({ state }) => state === "live") ?? [];
  const wanted = place.query.get("model");
  const name = live.find((model) => model.name === wanted)?.name ?? live[0]?.name ?? null;
  const model = useLoad<Model>(name === null ? null : `model ${name}`, (signal) => api.model(name ?? "", signal));
  const performance = useLoad<Performance>(name === null ? null : `performance ${name}`, (signal) => api.performance(name ?? "", signal));
  const slow = useSlow(models.pending || model.pending);
  const [noting, setNoting] = useState<{ customer: string; holdOut: boolean } | null>(null);
  const [notice, setNotice] = useState<preact.ComponentChildren>(null);
  const [changed, setChanged] = useState(0);
  const [help, setHelp] = useState(false);
  const main = useRef<HTMLElement>(null);

  const note = useCallback((customer: string, holdOut: boolean) => setNoting({ customer, holdOut }), []);
  const desk = useMemo<Desk | null>(() => {
    const now = model.data?.live;
    if (!model.data || !now) return null;
    return {
      model: model.data, name: model.data.name, version: now.version, bands: now.bands, features: now.features,
      shares: now.output === "probability",
      named: live.length > 1 ? model.data.name : null,
      // Without a place for outcomes the server refuses; other failures leave the list as it would be without them.
      performance: performance.data ?? (performance.error ? "off" : null),
      contactsProblem: performance.error && performance.error.status !== 409 ? performance.error.detail || words.state.unreachable : null,
      mayRecord: session.roles.includes("record") && !performance.error,
      linkOf: (customer) => session.customer_link?.replace("{id}", encodeURIComponent(customer)) ?? null,
      note,
    };
  }, [model.data, performance.data, performance.error, session, live.length]);

  const noted = (done: Noted) => {
    const text = words.note;
    const takeBack = () => void done.undo?.().then(() => {
      setNotice(text.undone(done.customer));
      setChanged((n) => n + 1);
    });
    const said = done.sent ? (place.path === "/" && place.query.get("handled") !== "shown" ? text.savedHidden(done.customer) : text.saved(done.customer)) : text.kept(done.customer);
    setNotice(<>{said} {done.undo && <button class="link" onClick={takeBack}>{text.undo}</button>}</>);
    setChanged((n) => n + 1);
  };

  // A notice is about what was just done; another view has no use for it.
  const customer = place.path.startsWith("/customers/") ? decodeURIComponent(place.path.slice("/customers/".length)) : null;
  const view = customer ?? place.path + (place.query.has("own") ? "?own" : "");
  const before = useRef(view);
  useEffect(() => {
    if (before.current === view) return;
    before.current = view;
    setNotice(null);
    // Screen readers learn of the new view by its heading.
    main.current?.querySelector<HTMLElement>("h1")?.focus({ preventScroll: true });
  }, [view]);
  useEffect(() => {
    if (view === "/") document.title = `${words.list.title} – ${words.brand}`;
  }, [view]);
  useKeys({ help: () => setHelp(true), note: (id) => desk?.mayRecord && note(id, false), customer });

  const failed = models.error ?? (model.data ? null : model.error);
  return (
    <>
      <Bar session={session} leave={leave} keys={() => setHelp(true)} path={place.path} models={live.map((line) => line.name)} name={name} />
      <main id="main" ref={main} tabIndex={-1}>
        {!session.roles.includes("score") ? <Panel id="problem" alone title={words.state.forbidden} hint={words.signIn.noRole} />
          : failed ? <Problem error={failed} retry={() => { models.reload(); model.reload(); }} alone />
          : models.data && live.length === 0 ? <Panel id="problem" alone title={words.list.noModel} hint={words.list.noModelHint}><p class="after"><button class="btn" onClick={models.reload}>{words.state.retry}</button></p></Panel>
          : !desk ? <Skeleton rows={8} label={words.list.loading} shown={slow} />
          : customer !== null ? <Customer key={customer} desk={desk} id={customer} notice={notice} changed={changed} noted={noted} />
          : place.path === "/model" ? <ModelView desk={desk} />
          : place.query.has("own") ? <OwnList desk={desk} notice={notice} changed={changed} />
          : <List desk={desk} place={place} notice={notice} changed={changed} />}
      </main>
      <footer class="fine quiet">
        {words.footer}{" "}
        {languages.filter(([code]) => code !== words.language).map(([code, language]) => (
          <button key={code} class="link" lang={code} onClick={() => setLanguage(code)}>{language}</button>
        ))}
      </footer>
      {noting && desk && <NoteDialog desk={desk} customer={noting.customer} holdOut={noting.holdOut} done={noted} close={() => setNoting(null)} />}
      {help && <Help close={() => setHelp(false)} />}
    </>
  );
}

function Bar({ session, leave, keys, path, models, name }: {
  session?: Session; leave?: () => void; keys?: () => void; path?: string; models?: string[]; name?: string | null;
}) {
  const text = words.nav;
  const query = models && models.length > 1 && name ? `?${new URLSearchParams({ model: name })}` : "";
  return (
    <header class="bar">
      <a class="brand" href={`/${query}`} aria-label={`${words.brand}, ${text.list}`}><Mark /><span>{words.brand}</span></a>
      {session && (
        <>
          <nav aria-label={text.label}>
            <a href={`/${query}`} aria-current={path === "/model" ? undefined : "page"}>{text.list}</a>
            <a href={`/model${query}`} aria-current={path === "/model" ? "page" : undefined}>{text.model}</a>
          </nav>
          <div class="who">
            {models && models.length > 1 && (
              <select aria-label={text.models} value={name ?? ""} onChange={(event) => go(`${path === "/model" ? "/model" : "/"}?${new URLSearchParams({ model: event.currentTarget.value })}`)}>
                {models.map((model) => <option key={model}>{model}</option>)}
              </select>
            )}
            {session.client && <span class="client">{session.client}</span>}
            <button class="link keys-button" onClick={keys}><kbd>?</kbd><span class="wide-only"> {text.help}</span></button>
            {session.client && <button class="link" onClick={leave}>{text.signOut}</button>}
          </div>
        </>
      )}
    </header>
  );
}

/** The line at the foot of the screen while the server cannot be reached. It covers the page rather than moving it. */
function Snag({ connection }: { connection: Connection | null }) {
  const text = words.state;
  const trouble = connection && (!connection.reachable || connection.waiting > 0);
  return (
    <div class="snag" role="status">
      {trouble && (
        <div class="banner bad">
          <p><b>{text.unreachable}</b> {text.unreachableHint(connection.heardAt ? timeOfDay(connection.heardAt) : null)}{text.waiting(connection.waiting)}</p>
          <button class="link" onClick={() => void tryAgain()}>{text.tryNow}</button>
        </div>
      )}
      {connection?.refused && (
        <div class="banner bad">
          <p><b>{text.refused(connection.refused)}</b> {text.refusedHint}</p>
          <button class="link" onClick={seenRefused}>{text.close}</button>
        </div>
      )}
    </div>
  );
}

