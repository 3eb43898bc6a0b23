import type { UIMessage } from "ai";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Chat } from "./Chat";
import "./style.css";

// The address contains the chat, so that a reload and a second window show the same chat.
const address = new URL(location.href);
const id = address.searchParams.get("chat") ?? Math.random().toString(36).slice(2, 12);
address.searchParams.set("chat", id);
history.replaceState(null, "", address);

const root = createRoot(document.getElementById("root")!);

export async function show(): Promise<void> {
  const response = await fetch(`/api/chat/${id}/messages`);
  const messages: UIMessage[] = await response.json();
  root.render(
    <StrictMode>
      <Chat key={Date.now()} id={id} history={messages} onReset={() => void show()} />
    </StrictMode>,
  );
}

void show();
