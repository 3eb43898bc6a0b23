import { type FormEvent, type KeyboardEvent, useState } from "react";
import { send } from "./messages";
import { useNotice } from "./useNotice";

const DRAFT = "inkstream-chat-draft";

/** Where a question is written. Its draft survives a reload. */
export function Composer({
  busy,
  limit,
  onAsked,
}: {
  busy: boolean;
  limit: number;
  onAsked: () => void;
}) {
  const [prompt, setPrompt] = useState(() => sessionStorage.getItem(DRAFT) ?? "");
  const [notice, tell] = useNotice();
  const [early, setEarly] = useState(false);
  const [sending, setSending] = useState(false);
  const over = [...prompt.trim()].length - limit;
  const write = (text: string) => {
    setPrompt(text);
    setEarly(false);
    tell("");
    sessionStorage.setItem(DRAFT, text);
  };

  // Nothing is shown before it is stored: the question comes back with the list, in all windows.
  const ask = async () => {
    if (!prompt.trim() || sending) return;
    if (busy) return setEarly(true);
    if (over > 0) return tell("The question is too long. Shorten it, or send it in parts.");
    setSending(true);
    const refusal = await send("POST", "/api/messages", { prompt });
    setSending(false);
    if (refusal) return tell(refusal);
    write("");
    onAsked();
  };
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    void ask();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    void ask();
  };
  return (
    <form aria-label="Ask" onSubmit={onSubmit}>
      {early && busy && (
        <p role="alert">An answer is being written. Stop it (Escape), or wait for its end.</p>
      )}
      {notice && <p role="alert">{notice}</p>}
      {over > -limit / 10 && (
        <p id="limit" className={over > 0 ? "bad" : "note"}>
          {over > 0
            ? `${over.toLocaleString()} characters too many (the limit is ${limit.toLocaleString()})`
            : `${(-over).toLocaleString()} characters left`}
        </p>
      )}
      <textarea
        aria-label="Message"
        aria-describedby="limit"
        autoFocus
        placeholder="Ask something…"
        rows={1}
        value={prompt}
        onChange={(event) => write(event.target.value)}
        onKeyDown={onKeyDown}
      />
      <button aria-disabled={busy || sending || over > 0} disabled={!prompt.trim()}>
        Send
      </button>
    </form>
  );
}
