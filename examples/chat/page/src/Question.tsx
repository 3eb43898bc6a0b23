import { useRef, useState } from "react";
import { flushSync } from "react-dom";
import { CopyButton } from "./CopyButton";
import { Editor } from "./Editor";
import { Icon } from "./Icon";
import { send, type Turn } from "./server";
import { useDraft } from "./useDraft";
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
  // All versions of a question have the same parent, so they share one draft.
  const [draft, write] = useDraft(`edit-${chatId}-${turn.parent_id}`);
  const [pressed, press] = useState(false);
  const opener = useRef<HTMLButtonElement>(null);
  const close = () => {
    flushSync(() => write());
    opener.current?.focus();
  };
  if (draft !== undefined)
    return (
      <Editor
        prompt={draft}
        write={write}
        autoFocus={pressed} // but not after a reload, when the field for questions has the focus
        busy={busy}
        limit={limit}
        onCancel={close}
        onSend={async () => {
          const question = { prompt: draft, chat_id: chatId, parent_id: turn.parent_id };
          const { refusal } = await send("POST", "/api/turns", question);
          if (!refusal) close();
          return refusal;
        }}
      />
    );
  return (
    // A tap on the question moves the focus here, and so shows the buttons on a phone.
    <div className="asked" tabIndex={-1}>
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
          onClick={() => {
            if (busy) return;
            press(true);
            write(turn.prompt);
          }}
        >
          <Icon name="edit" />
        </button>
      </div>
    </div>
  );
}
