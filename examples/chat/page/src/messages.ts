// The server's answers, and the requests to it.
import type { Initial, Part } from "inkstream";

export interface Message {
  id: number;
  prompt: string;
  stream_id: string;
  asked_at: number;
  initial?: Initial | null;
}

export interface History {
  messages: Message[];
  offset: string;
}

/** Apply what the list's log says; applying a part of it again changes nothing. */
export function applied(history: readonly Message[], parts: readonly Part[]): Message[] {
  const messages = new Map(history.map((message) => [message.id, message]));
  for (const part of parts) {
    if (typeof part === "string") continue;
    if ("cleared" in part) {
      for (const id of messages.keys()) if (id <= Number(part.cleared)) messages.delete(id);
    } else if ("message" in part) {
      const message = part.message as Message;
      const known = messages.get(message.id);
      if (known?.stream_id !== message.stream_id) messages.set(message.id, message);
    }
  }
  return [...messages.values()].sort((a, b) => a.id - b.id);
}

/** Return what the server answers, trying again while it cannot be reached. */
export async function load<T>(address: string, signal: AbortSignal): Promise<T> {
  for (;;) {
    try {
      const response = await fetch(address, { signal });
      if (response.ok) return (await response.json()) as T;
    } catch {
      // Away, or restarting.
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
    signal.throwIfAborted();
  }
}

/** Send something; return what is to be told to the user if it did not work. */
export async function send(method: string, address: string, body?: unknown): Promise<string> {
  try {
    const response = await fetch(address, {
      method,
      headers: { "content-type": "application/json" },
      body: body === undefined ? null : JSON.stringify(body),
    });
    if (response.ok) return "";
    const { detail } = await response.json().catch(() => ({}));
    return typeof detail === "string" ? detail : `The server said ${response.status}.`;
  } catch {
    return "The server cannot be reached. Try again.";
  }
}
