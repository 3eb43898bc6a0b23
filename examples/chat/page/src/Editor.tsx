import { type FormEvent, type KeyboardEvent, useState } from "react";
import { excess, Limit } from "./Limit";
import { useNotice } from "./useNotice";

/** A field that replaces a question to edit it. Enter sends the new text; Escape cancels. */
export function Editor({
  prompt,
  write,
  autoFocus,
  busy,
  limit,
  onCancel,
  onSend,
}: {
  prompt: string;
  write: (prompt: string) => void;
  autoFocus: boolean;
  busy: boolean;
  limit: number;
  onCancel: () => void;
  onSend: () => Promise<string>;
}) {
  const [refusal, refuse] = useNotice();
  const [sending, setSending] = useState(false);
  const over = excess(prompt, limit);
  const mayAsk = !busy && !sending && over <= 0 && prompt.trim() !== "";
  const ask = async () => {
    if (busy) refuse("An answer is being written. Stop it, or wait for its end.");
    if (!mayAsk) return;
    setSending(true);
    refuse(await onSend());
    setSending(false);
  };
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    void ask();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.nativeEvent.isComposing) return;
    if (event.key === "Escape") onCancel();
    else if (event.key === "Enter" && !event.shiftKey) void ask();
    else return;
    event.preventDefault();
  };
  return (
    <form className="editor" aria-label="Edit question" onSubmit={onSubmit}>
      <textarea
        aria-label="Question"
        aria-describedby="edit-limit"
        autoFocus={autoFocus}
        value={prompt}
        onChange={(event) => write(event.target.value)}
        onFocus={({ currentTarget: { value }, currentTarget }) =>
          currentTarget.setSelectionRange(value.length, value.length)
        }
        onKeyDown={onKeyDown}
      />
      <Limit id="edit-limit" over={over} limit={limit} />
      {refusal && <p role="alert">{refusal}</p>}
      <div className="actions mine">
        <button type="button" className="quiet" onClick={onCancel}>
          Cancel
        </button>
        <button className="small" aria-disabled={!mayAsk}>
          Send
        </button>
      </div>
    </form>
  );
}
