import { useChat } from "@ai-sdk/react";
import {
  DefaultChatTransport,
  lastAssistantMessageIsCompleteWithToolCalls,
  type UIMessage,
} from "ai";
import { resumingFetch } from "inkstream/fetch";
import { type FormEvent, useMemo, useState } from "react";
import { Part } from "./Part";

interface Props {
  id: string;
  history: UIMessage[];
  /** Load the history again, because the stored text differs from the text on the page. */
  onReset: () => void;
}

/** A chat whose answers continue without the page. `resumingFetch` handles lost connections. */
export function Chat({ id, history, onReset }: Props) {
  const fetch = useMemo(
    () =>
      resumingFetch({
        resume: `/api/chat/${id}/stream`,
        stop: `/api/chat/${id}/stop`,
        onReset,
      }),
    [id],
  );
  const chat = useChat({
    id,
    messages: history,
    resume: true,
    transport: useMemo(() => new DefaultChatTransport({ fetch }), [fetch]),
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
    onToolCall({ toolCall }) {
      if (toolCall.toolName !== "browserTimeZone") return;
      const output = Intl.DateTimeFormat().resolvedOptions().timeZone;
      void chat.addToolOutput({
        tool: "browserTimeZone",
        toolCallId: toolCall.toolCallId,
        output,
      });
    },
  });
  const busy = chat.status === "submitted" || chat.status === "streaming";
  const [stopping, setStopping] = useState(false);
  const stop = () => {
    setStopping(true);
    void fetch.stop().finally(() => setStopping(false));
  };
  return (
    <>
      <ol>
        {chat.messages.map((message) => (
          <li key={message.id} className={message.role}>
            {message.parts.map((part, i) => (
              <Part key={i} part={part} />
            ))}
            <Ending message={message} />
          </li>
        ))}
      </ol>
      {chat.error && (
        <p className="failed" role="alert">
          {chat.error.message}
        </p>
      )}
      <Ask busy={busy} onAsk={(text) => void chat.sendMessage({ text })} />
      <p className="status" data-status={chat.status}>
        {busy ? (
          <button type="button" onClick={stop} disabled={stopping}>
            {stopping ? "Stopping…" : "Stop"}
          </button>
        ) : (
          "Try: tools, where, error, long"
        )}
      </p>
    </>
  );
}

/** How an answer in the history ended, if it did not end `done`. */
function Ending({ message }: { message: UIMessage }) {
  const { inkstream } = (message.metadata ?? {}) as {
    inkstream?: { status: string; message: string | null };
  };
  if (!inkstream) return null;
  return <p className="ending">{inkstream.message ?? inkstream.status}</p>;
}

function Ask({ busy, onAsk }: { busy: boolean; onAsk: (text: string) => void }) {
  const [text, setText] = useState("");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (busy || !text.trim()) return;
    onAsk(text);
    setText("");
  };
  return (
    <form onSubmit={submit}>
      <input
        name="prompt"
        aria-label="Your question"
        placeholder="Ask something"
        value={text}
        onChange={(event) => setText(event.target.value)}
      />
      <button disabled={busy}>Ask</button>
    </form>
  );
}
