// The official JavaScript clients, one a call: node clients.js CLIENT URL
// A line of JSON comes out for each thing that the client was given, as it was given.

import { DurableStream, IdempotentProducer, stream } from "@durable-streams/client";
import { createDurableChatTransport } from "@durable-streams/aisdk-transport";
import { durableStreamConnection } from "@durable-streams/tanstack-ai-transport";
import { ChatClient } from "@tanstack/ai-client";
import { readUIMessageStream } from "ai";

const [client, url] = process.argv.slice(2);

const tell = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

async function follow(live) {
  const response = await stream({ url, live, offset: "-1", json: true });
  for await (const item of response.jsonStream()) tell(item);
}

// What a route of the application would answer: where the stream of the answer is.
const pointer = async () => new Response(null, { status: 202, headers: { Location: url } });

const textOf = (message) =>
  message.parts
    .filter((part) => part.type === "text")
    .map((part) => part.text ?? part.content)
    .join("");

async function tellMessages(chunks) {
  const failed = (error) => {
    throw error;
  };
  for await (const message of readUIMessageStream({
    stream: chunks,
    onError: failed,
    terminateOnError: true,
  })) {
    tell({ text: textOf(message), parts: message.parts.map((part) => part.type) });
  }
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
    const { finalOffset } = await producer.close();
    tell({ finalOffset });
  },

  async "ai-sdk"() {
    const transport = createDurableChatTransport({ api: url, fetchClient: pointer });
    await tellMessages(
      await transport.sendMessages({ trigger: "submit-message", chatId: "1", messages: [] }),
    );
  },

  async "ai-sdk-resume"() {
    const transport = createDurableChatTransport({ api: url, fetchClient: pointer });
    await tellMessages(await transport.reconnectToStream({ chatId: "1" }));
  },

  async tanstack() {
    const connection = durableStreamConnection({ sendUrl: url, readUrl: url });
    const chat = new ChatClient({
      connection,
      onMessagesChange: ([message]) => message && tell({ text: textOf(message) }),
      onSessionGeneratingChange: (generating) => tell({ generating }),
      onError: (error) => tell({ error: String(error) }),
    });
    const done = new Promise((resolve) => {
      chat.updateOptions({ onConnectionStatusChange: (s) => s === "disconnected" && resolve() });
    });
    chat.subscribe();
    await done;
  },
};

await clients[client]();
