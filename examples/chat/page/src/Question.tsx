import { type KeyboardEvent, useRef, useState } from "react";
import { flushSync } from "react-dom";
import { CopyButton } from "./CopyButton";
import { Icon } from "./Icon";
import { send, type Turn } from "./server";
import { useNotice } from "./useNotice";
import { Versions } from "./Versions";

/** A question; it can be asked in other words, which keeps these and what followed them. */
export function Question({
  chatId,
  turn,
  busy,
}: {
  chatId: string | undefined;
  turn: Turn;
  busy: boolean;
}) {
  const [editing, edit] = useState(false);
  const opener = useRef<HTMLButtonElement>(null);
  const close = () => {
    flushSync(() => edit(false));
    opener.current?.focus();
  };
  if (editing)
    return (
      <Editor
        first={turn.prompt}
        busy={busy}
        onCancel={close}
        onSend={async (prompt) => {
          const question = { prompt, chat_id: chatId, parent_id: turn.parent_id };
          const { refusal } = await send("POST", "/api/turns", question);
          if (!refusal) close();
          return refusal;
        }}
      />
    );
  return (
    <>
      <div className="question">{turn.prompt}</div>
      <div className="actions mine">
        <Versions of="question" ids={turn.questions} shown={turn.id} />
        <CopyButton text={turn.prompt} label="Copy question" />
        <button
          ref={opener}
          className="icon"
          aria-label="Edit question"
          title="Edit question"
          aria-disabled={busy}
          onClick={() => !busy && edit(true)}
        >
          <Icon name="edit" />
        </button>
      </div>
    </>
  );
}

function Editor({
  first,
  busy,
  onCancel,
  onSend,
}: {
  first: string;
  busy: boolean;
  onCancel: () => void;
  onSend: (prompt: string) => Promise<string>;
}) {
  const [prompt, write] = useState(first);
  const [refusal, refuse] = useNotice();
  const [sending, setSending] = useState(false);
  const ask = async () => {
    if (!prompt.trim() || sending) return;
    setSending(true);
    refuse(await onSend(prompt));
    setSending(false);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.nativeEvent.isComposing) return;
    if (event.key === "Escape") onCancel();
    else if (event.key === "Enter" && !event.shiftKey) void ask();
    else return;
    event.preventDefault();
  };
  return (
    <form
      className="editor"
      aria-label="Edit question"
      onSubmit={(event) => {
        event.preventDefault();
        void ask();
      }}
    >
      <textarea
        aria-label="Question"
        autoFocus
        value={prompt}
        onChange={(event) => write(event.target.value)}
        onFocus={({ currentTarget: { value }, currentTarget }) =>
          currentTarget.setSelectionRange(value.length, value.length)
        }
        onKeyDown={onKeyDown}
      />
      {refusal && <p role="alert">{refusal}</p>}
      <div className="actions mine">
        <button type="button" className="quiet" onClick={onCancel}>
          Cancel
        </button>
        <button className="small" aria-disabled={busy || sending || !prompt.trim()}>
          Send
        </button>
      </div>
    </form>
  );
}
