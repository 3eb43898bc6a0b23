import { isEnded, useStream } from "inkstream/react";
import { useEffect, useEffectEvent, useLayoutEffect, useRef, useState } from "react";
import { CopyButton } from "./CopyButton";
import { type Message, send } from "./messages";
import { Parts } from "./Parts";
import { useNotice } from "./useNotice";

/** One answer, live or finished: the same either way. */
export function Answer({
  message,
  mayRegenerate,
  onLive,
}: {
  message: Message;
  mayRegenerate: boolean;
  onLive: (live: boolean, end?: string) => void;
}) {
  const answer = useStream(message.stream_id, {
    url: "/api/streams",
    initial: message.initial ?? undefined,
  });
  const { text, status, error, connection, stop, stopping } = answer;
  const live = !isEnded(status);
  const tell = useEffectEvent(onLive);
  useEffect(() => {
    tell(live, status);
    return () => tell(false);
  }, [live]);

  return (
    <article
      className="answer"
      aria-label="Answer"
      data-stream={message.stream_id}
      data-status={status}
      aria-busy={live}
    >
      <Parts parts={answer.message.parts} />
      {!answer.message.parts.length && (
        <div className="text">{live && <span className="thinking">Thinking…</span>}</div>
      )}
      {connection === "waiting" && (
        <p className="note">
          {stopping
            ? "No connection. Stop is sent as soon as there is one."
            : "No connection. Trying again…"}
        </p>
      )}
      {error && <p role="alert">{reason(error)}</p>}
      {status === "cancelled" && <p className="note">Stopped.</p>}
      <div className="actions">
        {live ? (
          <StopButton stop={stop} stopping={stopping} />
        ) : (
          <>
            {text && <CopyButton text={text} label="Copy answer" />}
            {mayRegenerate && <AgainButton message={message} done={status === "done"} />}
          </>
        )}
      </div>
    </article>
  );
}

/** Stop, by the button or by Escape; the package keeps the wish until the server has it. */
function StopButton({ stop, stopping }: { stop: () => Promise<void>; stopping: boolean }) {
  const [refusal, refuse] = useNotice();
  const button = useRef<HTMLButtonElement>(null);
  const press = useEffectEvent(() => {
    if (!stopping) stop().catch(() => refuse("The server did not stop it. Try again."));
  });
  // A layout effect: its end runs while the button is still there, and may have the focus.
  useLayoutEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !event.isComposing) press();
    };
    document.addEventListener("keydown", onKeyDown);
    const pressed = button.current;
    return () => {
      document.removeEventListener("keydown", onKeyDown);
      // The button goes away: the keyboard goes on where the next question is written.
      if (document.activeElement === pressed)
        document.querySelector<HTMLElement>("textarea")?.focus();
    };
  }, []);
  return (
    <>
      <button
        ref={button}
        className="quiet"
        aria-disabled={stopping}
        title="Escape stops, too"
        onClick={() => press()}
      >
        {stopping ? "Stopping…" : "Stop"}
      </button>
      {refusal && <span role="alert">{refusal}</span>}
    </>
  );
}

function AgainButton({ message, done }: { message: Message; done: boolean }) {
  const [refusal, refuse] = useNotice();
  const [busy, setBusy] = useState(false);
  const press = async () => {
    if (busy) return;
    setBusy(true);
    refuse(await send("POST", `/api/messages/${message.id}/regenerate`));
    setBusy(false);
  };
  return (
    <>
      <button className="quiet" aria-disabled={busy} onClick={() => void press()}>
        {done ? "Regenerate" : "Try again"}
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
