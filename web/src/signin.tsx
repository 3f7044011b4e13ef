// Sign-in with an API key. The key goes to the server once and is kept nowhere: the browser gets a cookie for it.

import { useRef, useState } from "preact/hooks";
import { api, ApiError } from "./api";
import { words } from "./words";

export function SignIn({ ended, entered }: { ended: boolean; entered: () => void }) {
  const text = words.signIn;
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const key = field.current?.value.trim() ?? "";
    if (!key || busy) return;
    setBusy(true);
    setError("");
    try {
      await api.signIn(key);
      entered();
    } catch (problem) {
      const known = problem instanceof ApiError ? problem : null;
      setError(known?.status === 401 ? text.wrong : known?.status === 0 ? words.state.unreachable : (known?.detail ?? words.state.failed));
      field.current?.select();
    } finally {
      setBusy(false);
    }
  };
  return (
    <section class="panel" aria-labelledby="sign-in">
      <h1 id="sign-in">{text.title}</h1>
      <p class="quiet">{ended ? text.ended : text.hint}</p>
      <form class="form" onSubmit={(event) => void submit(event)}>
        <label class="field">
          <span>{text.key}</span>
          <input ref={field} type="password" name="key" autocomplete="current-password" required autofocus aria-describedby="sign-in-error" aria-invalid={error !== ""} />
        </label>
        <p id="sign-in-error" class="small up" role="alert">{error}</p>
        <button class="btn main" disabled={busy}>{text.submit}</button>
      </form>
    </section>
  );
}
