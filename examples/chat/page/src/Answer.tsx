import { isEnded, useStream } from "inkstream/react";
import { useState } from "react";
import { CopyButton } from "./CopyButton";
import { Icon } from "./Icon";
import { Parts } from "./Parts";
import { initialOf, send, STREAMS, type Turn } from "./server";
import { useNotice } from "./useNotice";
import { Versions } from "./Versions";

/** Shows a live answer and a finished answer in the same way. */
export function Answer({
  chatId,
  turn,
  busy,
}: {
  chatId: string | undefined;
  turn: Turn;
  busy: boolean;
}) {
  const { message, text, status, error, connection, stopping } = useStream(turn.stream_id, {
    url: STREAMS,
    initial: initialOf(turn),
  });
  const live = !isEnded(status);
  return (
    <article
      className="answer"
      aria-label="Answer"
      data-stream={turn.stream_id}
      data-status={status}
      aria-busy={live}
    >
      <Parts parts={message.parts} />
      {!message.parts.length && (
        <div className="text">{live && <span className="thinking">Thinking…</span>}</div>
      )}
      {connection === "waiting" && (
        <p className="note late">
          {stopping
            ? "No connection. Stop is sent as soon as there is one."
            : "No connection. Trying again…"}
        </p>
      )}
      {error && <p role="alert">{reason(error)}</p>}
      {status === "cancelled" && <p className="note">Stopped.</p>}
      <div className="actions">
        <Versions of="answer" ids={turn.answers} shown={turn.id} />
        {text && <CopyButton text={text} label="Copy answer" />}
        {!live && <AgainButton chatId={chatId} turn={turn} busy={busy} done={status === "done"} />}
      </div>
    </article>
  );
}

/** A button that requests another answer to the question. The existing answers stay. */
function AgainButton({
  chatId,
  turn,
  busy,
  done,
}: {
  chatId: string | undefined;
  turn: Turn;
  busy: boolean;
  done: boolean;
}) {
  const [refusal, refuse] = useNotice();
  const [asking, setAsking] = useState(false);
  const idle = !busy && !asking;
  const press = async () => {
    if (!idle) return;
    setAsking(true);
    const { prompt, parent_id, answers } = turn;
    const again = { prompt, parent_id, chat_id: chatId, again: answers[0] };
    refuse((await send("POST", "/api/turns", again)).refusal);
    setAsking(false);
  };
  return (
    <>
      <button
        className={done ? "icon" : "quiet"}
        aria-label={done ? "Regenerate" : undefined}
        title={done ? "Regenerate" : undefined}
        aria-disabled={!idle}
        onClick={() => void press()}
      >
        <Icon name="again" /> {done ? "" : "Try again"}
      </button>
      {refusal && <span role="alert">{refusal}</span>}
    </>
  );
}

const REASONS: Record<string, string> = {
  provider_unauthorized: "The model's provider refused the key. Check OPENAI_API_KEY.",
  writer_lost: "The server was lost while it wrote this.",
  shutdown: "The server was shut down while it wrote this.",
  not_found: "This answer was deleted.",
};

function reason({ code, message }: { code: string | null; message?: string | null }): string {
  return REASONS[code ?? ""] ?? message ?? "The answer failed.";
}
