import { useStream } from "inkstream/react";
import {
  Fragment,
  type FormEvent,
  type KeyboardEvent,
  useEffect,
  useState,
} from "react";
import { Answer } from "./Answer";
import { applied, type History, load, type Message, send } from "./messages";
import { useStickToEnd } from "./useStickToEnd";

/** The conversation: its history, loaded once, and what its log says from there on. */
export function Chat() {
  const [history, setHistory] = useState<History>();
  const [about, setAbout] = useState({ name: "", note: "" });
  useEffect(() => {
    const leaving = new AbortController();
    load<History>("/api/messages", leaving.signal).then(setHistory, () => {});
    load<typeof about>("/api/about", leaving.signal).then(setAbout, () => {});
    return () => leaving.abort();
  }, []);

  // While an answer is followed the list rests: one connection for each window, not two.
  const [live, setLive] = useState<string>();
  const feed = useStream(live === undefined && history ? "feed" : undefined, {
    url: "/api",
    initial: { offset: history?.offset ?? null },
  });
  const messages = history && applied(history.messages, feed.parts);
  const onLive = (id: string, is: boolean) => {
    if (is && messages) setHistory({ messages, offset: feed.offset ?? history.offset });
    setLive((known) => (is ? id : known === id ? undefined : known));
  };
  return (
    <>
      <header>
        <h1>inkstream chat</h1>
        <p className="note">{about.note || (about.name && `Answers from ${about.name}.`)}</p>
        <ClearButton disabled={!messages?.length} />
      </header>
      {live === undefined && feed.connection === "waiting" && (
        <p className="banner">No connection. Trying again…</p>
      )}
      {messages ? (
        <Conversation messages={messages} live={live} onLive={onLive} />
      ) : (
        <p className="banner">Loading…</p>
      )}
    </>
  );
}

function ClearButton({ disabled }: { disabled: boolean }) {
  const clear = async () => {
    const trouble = await send("DELETE", "/api/messages");
    if (trouble) alert(trouble);
  };
  return (
    <button className="quiet" disabled={disabled} onClick={() => void clear()}>
      Clear chat
    </button>
  );
}

function Conversation({
  messages,
  live,
  onLive,
}: {
  messages: Message[];
  live: string | undefined;
  onLive: (id: string, is: boolean) => void;
}) {
  const end = useStickToEnd();
  const last = messages.at(-1);
  return (
    <>
      <main ref={end}>
        <div className="list">
          {messages.length === 0 && (
            <p className="empty">Ask something. Open this page in another window, too.</p>
          )}
          {messages.map((message, index) => (
            <Fragment key={message.id}>
              <Separator at={message.asked_at} before={messages[index - 1]?.asked_at} />
              <div className="question">{message.prompt}</div>
              <Answer
                key={message.stream_id}
                message={message}
                onLive={(is) => onLive(message.stream_id, is)}
              />
            </Fragment>
          ))}
        </div>
      </main>
      <Composer busy={live !== undefined && live === last?.stream_id} />
    </>
  );
}

const GAP_S = 15 * 60;

/** The time, where a message comes long after the one before. */
function Separator({ at, before }: { at: number; before: number | undefined }) {
  if (before !== undefined && at - before < GAP_S) return null;
  const date = new Date(at * 1000);
  const today = date.toDateString() === new Date().toDateString();
  const text = date.toLocaleString(undefined, {
    ...(today ? {} : { dateStyle: "medium" }),
    timeStyle: "short",
  });
  return (
    <time className="separator" dateTime={date.toISOString()}>
      {text}
    </time>
  );
}

function Composer({ busy }: { busy: boolean }) {
  const [prompt, setPrompt] = useState("");
  const [trouble, setTrouble] = useState("");
  const [sending, setSending] = useState(false);

  // Nothing is shown before it is stored: the question comes back with the list, in all windows.
  const ask = async () => {
    if (!prompt.trim() || busy || sending) return;
    setSending(true);
    const told = await send("POST", "/api/messages", { prompt });
    setSending(false);
    setTrouble(told);
    if (!told) setPrompt("");
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
    <form onSubmit={onSubmit}>
      {trouble && <p role="alert">{trouble}</p>}
      <textarea
        aria-label="Message"
        autoFocus
        placeholder="Ask something…"
        rows={1}
        maxLength={8000}
        value={prompt}
        onChange={(event) => setPrompt(event.target.value)}
        onKeyDown={onKeyDown}
      />
      <button disabled={busy || sending || !prompt.trim()}>Send</button>
    </form>
  );
}
