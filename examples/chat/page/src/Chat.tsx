import { useStream } from "inkstream/react";
import { Fragment, useEffect, useState } from "react";
import { Answer } from "./Answer";
import { ClearButton } from "./ClearButton";
import { Composer } from "./Composer";
import { applied, type History, load, type Message, send } from "./messages";
import { useStickToEnd } from "./useStickToEnd";

const TITLE = "inkstream chat";

/** What a screen reader says at the end of an answer; it does not read each token. */
const ENDS: Record<string, string> = { done: "The answer is complete.", cancelled: "Stopped." };

/** The conversation: its history, loaded once, and what its log says from there on. */
export function Chat() {
  const [history, setHistory] = useState<History>();
  const [about, setAbout] = useState({ name: "", note: "", prompt_characters: 8000 });
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
  const [said, say] = useState("");
  const onLive = (id: string, is: boolean, end = "") => {
    if (is) say("The answer began.");
    else if (end && id === live) say(ENDS[end] ?? "The answer failed.");
    if (is && messages) setHistory({ messages, offset: feed.offset ?? history.offset });
    setLive((known) => (is ? id : known === id ? undefined : known));
  };
  useEffect(() => {
    document.title = live === undefined ? TITLE : `✎ ${TITLE}`;
  }, [live]);
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
      <p className="unseen" role="status">
        {said}
      </p>
      {messages ? (
        <Conversation
          messages={messages}
          live={live}
          onLive={onLive}
          limit={about.prompt_characters}
        />
      ) : (
        <p className="banner">Loading…</p>
      )}
    </>
  );
}

function Conversation({
  messages,
  live,
  onLive,
  limit,
}: {
  messages: Message[];
  live: string | undefined;
  onLive: (id: string, is: boolean, end?: string) => void;
  limit: number;
}) {
  const { box, away, jump } = useStickToEnd();
  const last = messages.at(-1);
  return (
    <>
      <main ref={box} tabIndex={0} aria-label="Conversation">
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
                mayRegenerate={message === last && live === undefined}
                onLive={(is, end) => onLive(message.stream_id, is, end)}
              />
            </Fragment>
          ))}
        </div>
      </main>
      {away && (
        <button className="jump" aria-label="Jump to the end" onClick={jump}>
          ↓
        </button>
      )}
      <Composer
        busy={live !== undefined && live === last?.stream_id}
        limit={limit}
        onAsked={jump}
      />
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
