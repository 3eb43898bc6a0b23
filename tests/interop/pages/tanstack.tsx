// The page of TanStack AI's quick start, with the thread id that `persistence` needs.
import { fetchServerSentEvents, useChat } from "@tanstack/ai-react";
import { useState } from "react";
import { createRoot } from "react-dom/client";

function Chat() {
  const [input, setInput] = useState("");
  const { messages, sendMessage, isLoading } = useChat({
    connection: fetchServerSentEvents("/agui"),
    threadId: new URLSearchParams(location.search).get("thread") ?? "t0",
    persistence: true,
  });
  return (
    <div>
      {messages.map((message) => (
        <div key={message.id} className={message.role}>
          {message.parts.map((part, i) =>
            part.type === "text" ? (
              <p key={i}>{part.content}</p>
            ) : part.type === "thinking" ? (
              <i key={i}>{part.content}</i>
            ) : part.type === "tool-call" ? (
              <code key={i} data-state={part.state}>
                {part.name} {part.arguments}
              </code>
            ) : null,
          )}
        </div>
      ))}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void sendMessage(input);
          setInput("");
        }}
      >
        <input
          value={input}
          placeholder="Type a message..."
          onChange={(event) => setInput(event.target.value)}
          disabled={isLoading}
        />
        <button disabled={!input.trim() || isLoading}>Send</button>
      </form>
    </div>
  );
}

createRoot(document.getElementById("root")!).render(<Chat />);
