// Single keys, and the dialog that lists them. They can be turned off (WCAG 2.1.4).

import { useEffect, useRef, useState } from "preact/hooks";
import { go } from "./router";
import { languages, setLanguage, words } from "./words";

const SETTING = "evergreen-keys";

function keysAreOn(): boolean {
  try {
    return localStorage.getItem(SETTING) !== "off";
  } catch {
    return true;
  }
}

export function useKeys({ help, note, customer }: { help: () => void; note: (id: string) => void; customer: string | null }): void {
  const actions = useRef({ help, note, customer });
  actions.current = { help, note, customer };
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      const typing = target.closest("input:not([type=checkbox], [type=radio], [type=range]), select, textarea, dialog");
      if (typing || event.ctrlKey || event.metaKey || event.altKey || !keysAreOn()) return;
      if (!act(event.key, actions.current)) return;
      event.preventDefault();
    };
    const open = () => actions.current.help();
    addEventListener("keydown", press);
    addEventListener("evergreen-keys", open);
    return () => {
      removeEventListener("keydown", press);
      removeEventListener("evergreen-keys", open);
    };
  }, []);
}

/** Does what a key says; returns whether it says anything. */
function act(key: string, { help, note, customer }: { help: () => void; note: (id: string) => void; customer: string | null }): boolean {
  switch (key.toLowerCase()) {
    case "?": help(); return true;
    case "j": return step(1);
    case "k": return step(-1);
    case "l": go("/"); return true;
    case "m": go("/model"); return true;
    case "/": {
      const field = document.getElementById("find");
      field?.focus();
      return field !== null;
    }
    case "n": {
      if (customer !== null) {
        document.getElementById("note")?.focus();
        return true;
      }
      const row = document.activeElement?.closest("tr") ?? document.querySelector(".list tbody tr");
      const id = row?.getAttribute("data-id");
      if (id && !row?.hasAttribute("data-held")) note(id);
      return Boolean(id);
    }
    default: return false;
  }
}

/** Moves the focus to the next or previous customer of the list. */
function step(by: number): boolean {
  const links = [...document.querySelectorAll<HTMLAnchorElement>(".list .c a")];
  if (links.length === 0) return false;
  const row = document.activeElement?.closest("tr");
  const at = links.findIndex((link) => row?.contains(link));
  const to = at < 0 ? 0 : Math.min(Math.max(at + by, 0), links.length - 1);
  links[to]?.focus();
  links[to]?.closest("tr")?.scrollIntoView({ block: "nearest" });
  return true;
}

export function Help({ close }: { close: () => void }) {
  const text = words.help;
  const dialog = useRef<HTMLDialogElement>(null);
  const [on, setOn] = useState(keysAreOn());
  useEffect(() => dialog.current?.showModal(), []);
  const turn = (to: boolean) => {
    setOn(to);
    try {
      localStorage.setItem(SETTING, to ? "on" : "off");
    } catch {
      // Then it holds for nobody; the keys stay on.
    }
  };
  return (
    <dialog ref={dialog} aria-labelledby="help-title" onClose={close}>
      <h2 id="help-title">{text.title}</h2>
      <p class="quiet small">{text.hint}</p>
      <table class="plain">
        <tbody>{text.rows.map(([key, what]) => <tr key={key}><th scope="row"><kbd>{key}</kbd></th><td>{what}</td></tr>)}</tbody>
      </table>
      <label class="check"><input type="checkbox" checked={on} onChange={(event) => turn(event.currentTarget.checked)} />{text.single}</label>
      <label class="field">
        <span>{text.language}</span>
        <select aria-label={text.language} value={words.language} onChange={(event) => setLanguage(event.currentTarget.value)}>
          {languages.map(([code, name]) => <option key={code} value={code}>{name}</option>)}
        </select>
      </label>
      <p class="acts after"><button class="btn" onClick={() => dialog.current?.close()}>{words.state.close}</button></p>
    </dialog>
  );
}
