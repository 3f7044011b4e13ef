// The form for a contact: in the view of a customer, and in a dialog over the list.

import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, record, type Note } from "./api";
import type { Desk } from "./desk";
import { words } from "./words";

/** The longest detail that the server keeps, in bytes. */
const DETAIL_BYTES = 128;

type Became = keyof typeof words.note.results | "";

const bytes = (text: string): number => new TextEncoder().encode(text).length;

/** What a note was about, and how to take it back. */
export interface Noted { customer: string; sent: boolean; hides: boolean; undo: (() => Promise<void>) | null }

export function NoteForm({ desk, customer, holdOut, done, cancel }: {
  desk: Desk; customer: string; holdOut: boolean; done: (noted: Noted) => void; cancel?: () => void;
}) {
  const text = words.note;
  const [action, setAction] = useState<"call" | "offer">("call");
  const [became, setBecame] = useState<Became>("");
  const [detail, setDetail] = useState("");
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const result = became === "stays" ? "stayed" : became === "leaves" ? "left" : null;
  // The server knows who stayed and who left; everything else is said in the detail.
  const said = became !== "" && result === null ? text.results[became] : "";
  const full = [said, detail.trim()].filter(Boolean).join(": ");
  const room = DETAIL_BYTES - bytes(full);

  const save = async (event: SubmitEvent) => {
    event.preventDefault();
    if (busy || room < 0) return;
    setBusy(true);
    setError("");
    const note: Note = {
      id: crypto.randomUUID?.() ?? `page-${Date.now()}-${Math.random().toString(36).slice(2)}`,
      customer, model: desk.name, action, time: new Date().toISOString(),
      ...(full ? { detail: full } : {}),
      ...(result ? { result } : {}),
    };
    try {
      const sent = await record(note);
      const undo = sent ? async () => void (await record(withdrawn(note))) : null;
      setDetail("");
      setBecame("");
      done({ customer, sent, hides: true, undo });
    } catch (problem) {
      setError(problem instanceof ApiError ? problem.detail : String(problem));
    } finally {
      setBusy(false);
    }
  };

  if (desk.performance === "off") return <p class="quiet small">{desk.contactsProblem ?? text.off}</p>;
  if (!desk.mayRecord) return <p class="quiet small">{text.notAllowed}</p>;
  return (
    <form class="form" onSubmit={(event) => void save(event)}>
      {holdOut && <p class="banner bad small">{words.list.holdOutLong}</p>}
      <fieldset class="field">
        <legend>{text.did}</legend>
        <div class="seg">
          <label><input type="radio" name="action" checked={action === "call"} onChange={() => setAction("call")} />{text.call}</label>
          <label><input type="radio" name="action" checked={action === "offer"} onChange={() => setAction("offer")} />{text.offer}</label>
        </div>
      </fieldset>
      <label class="field">
        <span>{text.became}</span>
        <select aria-label={text.became} value={became} onChange={(event) => setBecame(event.currentTarget.value as Became)}>
          <option value="">{text.choose}</option>
          {Object.entries(text.results).map(([key, label]) => <option key={key} value={key}>{label}</option>)}
        </select>
      </label>
      <label class="field">
        <span>{text.offered}</span>
        <textarea rows={2} value={detail} aria-describedby="room" onInput={(event) => setDetail(event.currentTarget.value)} />
      </label>
      <p id="room" class={room < 0 ? "fine up" : "fine quiet"}>{text.left(room)}</p>
      {error && <p class="banner bad small" role="alert"><b>{words.state.failed}</b> {error}</p>}
      <div class="acts">
        <button class="btn main" disabled={busy || room < 0}>{text.save}</button>
        {cancel && <button class="btn" type="button" onClick={cancel}>{text.cancel}</button>}
      </div>
    </form>
  );
}

/** Replaces a note with one that says that nothing was done. */
function withdrawn(note: Note): Note {
  return { id: note.id, customer: note.customer, model: note.model, action: "none", detail: words.note.mistake, time: note.time };
}

/** The form in a dialog; closing it returns the focus to where it was. */
export function NoteDialog({ desk, customer, holdOut, done, close }: {
  desk: Desk; customer: string; holdOut: boolean; done: (noted: Noted) => void; close: () => void;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} aria-labelledby="note-title" onClose={close}>
      <h2 id="note-title">{words.note.title(customer)}</h2>
      <NoteForm
        desk={desk} customer={customer} holdOut={holdOut}
        done={(noted) => { dialog.current?.close(); done(noted); }}
        cancel={() => dialog.current?.close()}
      />
    </dialog>
  );
}
