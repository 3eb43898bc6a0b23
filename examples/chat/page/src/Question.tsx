import { useRef, useState } from "react";
import { flushSync } from "react-dom";
import { CopyButton } from "./CopyButton";
import { Editor } from "./Editor";
import { Icon } from "./Icon";
import { send, type Turn } from "./server";
import { Versions } from "./Versions";

/** A question, with Edit. An edited question is a new version; the old version's answers stay. */
export function Question({
  chatId,
  turn,
  busy,
  limit,
}: {
  chatId: string | undefined;
  turn: Turn;
  busy: boolean;
  limit: number;
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
        limit={limit}
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
