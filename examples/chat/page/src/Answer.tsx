import { isEnded, useStream } from "inkstream/react";
import { useEffect, useEffectEvent, useState } from "react";
import { Markdown } from "./Markdown";
import { type Message, send } from "./messages";

/** One answer, live or finished: the same either way. */
export function Answer({
  message,
  onLive,
}: {
  message: Message;
  onLive: (live: boolean) => void;
}) {
  const { text, status, error, connection, stop } = useStream(message.stream_id, {
    url: "/api/streams",
    initial: message.initial ?? undefined,
  });
  const live = !isEnded(status);
  const tell = useEffectEvent(onLive);
  useEffect(() => {
    tell(live);
    return () => tell(false);
  }, [live]);

  return (
    <article
      className="answer"
      data-stream={message.stream_id}
      data-status={status}
      aria-busy={live}
    >
      <div className="text">{text ? <Markdown text={text} /> : live && <Thinking />}</div>
      {connection === "waiting" && <p className="note">No connection. Trying again…</p>}
      {error && <p role="alert">{reason(error)}</p>}
      {status === "cancelled" && <p className="note">Stopped.</p>}
      {live ? (
        <Action label="Stop" act={() => stop().then(() => "", String)} />
      ) : (
        <Action
          label={status === "done" ? "Regenerate" : "Try again"}
          act={() => send("POST", `/api/messages/${message.id}/regenerate`)}
        />
      )}
    </article>
  );
}

function reason({ code, message }: { code: string | null; message?: string | null }): string {
  if (code === "provider_unauthorized")
    return "The model's provider refused the key. Check OPENAI_API_KEY.";
  if (message) return message;
  if (code === "writer_lost") return "The server was lost while it wrote this.";
  if (code === "shutdown") return "The server was shut down while it wrote this.";
  if (code === "not_found") return "This answer was deleted.";
  return "The answer failed.";
}

const Thinking = () => <span className="thinking">Thinking…</span>;

/** A button that says why it did not work. */
function Action({ label, act }: { label: string; act: () => Promise<string> }) {
  const [busy, setBusy] = useState(false);
  const [trouble, setTrouble] = useState("");
  const press = async () => {
    setBusy(true);
    setTrouble(await act());
    setBusy(false);
  };
  return (
    <p className="actions">
      <button className="quiet" disabled={busy} onClick={() => void press()}>
        {label}
      </button>
      {trouble && <span role="alert">{trouble}</span>}
    </p>
  );
}
