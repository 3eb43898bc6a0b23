// Runs one of the official JavaScript clients: node clients.js CLIENT URL
// The script prints a line of JSON for each item that the client receives.

import { createDurableChatTransport } from "@durable-streams/aisdk-transport";
import { DurableStream, IdempotentProducer, stream } from "@durable-streams/client";
import {
  durableStreamConnection,
  materializeSnapshotFromDurableStream,
} from "@durable-streams/tanstack-ai-transport";
import { ChatClient } from "@tanstack/ai-client";
import { readUIMessageStream } from "ai";

const [client, url] = process.argv.slice(2);

const tell = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

async function follow(live) {
  const response = await stream({ url, live, offset: "-1", json: true });
  for await (const item of response.jsonStream()) tell(item);
}

const textOf = (message) =>
  message.parts
    .filter((part) => part.type === "text")
    .map((part) => part.text ?? part.content)
    .join("");

// An application would send this response, which says where the stream is.
const pointer = async () => new Response(null, { status: 202, headers: { Location: url } });
const transport = createDurableChatTransport({ api: url, fetchClient: pointer });

async function tellMessage(chunks) {
  const onError = (error) => {
    throw error;
  };
  const messages = readUIMessageStream({ stream: chunks, onError, terminateOnError: true });
  let last;
  for await (const message of messages) {
    last = message;
    tell(textOf(message));
  }
  tell(last.parts.map((part) => part.type));
}

const clients = {
  sse: () => follow("sse"),
  "long-poll": () => follow("long-poll"),
  auto: () => follow(true),

  async producer() {
    const made = await DurableStream.create({ url, contentType: "application/json" });
    const producer = new IdempotentProducer(made, "typescript", { maxInFlight: 5, lingerMs: 1 });
    for (let i = 0; i < 500; i++) producer.append(JSON.stringify({ i, text: "ä\r\n\u0000" }));
    await producer.flush();
    tell(await producer.close());
  },

  "ai-sdk": async () => {
    const asked = { trigger: "submit-message", chatId: "1", messages: [] };
    await tellMessage(await transport.sendMessages(asked));
  },

  "ai-sdk-resume": async () => {
    await tellMessage(await transport.reconnectToStream({ chatId: "1" }));
  },

  tanstack: () =>
    new Promise((resolve, reject) => {
      const chat = new ChatClient({
        connection: durableStreamConnection({ sendUrl: url, readUrl: url }),
        onMessagesChange: ([message]) => message && tell(textOf(message)),
        onConnectionStatusChange: (status) => status === "disconnected" && resolve(),
        onError: reject,
      });
      chat.subscribe();
    }),

  async "tanstack-snapshot"() {
    const { messages } = await materializeSnapshotFromDurableStream({ readUrl: url });
    tell(messages.map(textOf));
  },
};

await clients[client]();
