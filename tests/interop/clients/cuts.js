// Records one answer. Then, for each event of the answer except the last, the unmodified client
// reads the answer through resumingFetch, with a cut after the event. The script prints JSON:
// {chat, events, whole, cuts: [message, …]}.
//
//     node cuts.js ai-6|ai-7|ag-ui URL RESUMING_FETCH
import { pathToFileURL } from "node:url";

const [kind, url, fetchFile] = process.argv.slice(2);
const { resumingFetch } = await import(pathToFileURL(fetchFile).href);
const resume = kind === "ag-ui" ? `${url}?threadId=t-${process.pid}` : `${url}/c-${process.pid}/stream`;

/** `useChat` is a thin layer above `AbstractChat`, so this test uses `AbstractChat` without React. */
async function aiSDK(fetch) {
  const { AbstractChat, DefaultChatTransport } = await import(kind);
  const state = {
    status: "ready",
    error: undefined,
    messages: [],
    pushMessage: (message) => state.messages.push(message),
    popMessage: () => state.messages.pop(),
    replaceMessage: (i, message) => (state.messages[i] = message),
    snapshot: (value) => structuredClone(value),
  };
  class Chat extends AbstractChat {}
  const transport = new DefaultChatTransport({ api: url, fetch });
  const chat = new Chat({ id: `c-${process.pid}`, state, transport, generateId: () => "generated" });
  await chat.sendMessage({ text: "tools" });
  if (state.status !== "ready") throw state.error;
  return state.messages.at(-1);
}

async function agUI(fetch) {
  const { HttpAgent } = await import("@ag-ui/client");
  const agent = new HttpAgent({ url, fetch, threadId: `t-${process.pid}` });
  agent.messages = [{ id: "u1", role: "user", content: "tools" }];
  await agent.runAgent({ runId: `r-${process.pid}` });
  return agent.messages.slice(1);
}

const take = kind === "ag-ui" ? agUI : aiSDK;

let recorded = "";
let headers;
const whole = await take(async (input, init) => {
  const response = await fetch(input, init);
  recorded = await response.clone().text();
  headers = [...response.headers];
  return response;
});
const events = recorded.split("\n\n").filter((event) => event.includes("data:"));

async function cutAfter(count) {
  const cut = async (input, init) => {
    if ((init?.method ?? "GET") === "GET") return fetch(input, init);
    const text = events.slice(0, count).map((event) => `${event}\n\n`).join("");
    const body = new ReadableStream({
      start: (controller) => controller.enqueue(new TextEncoder().encode(text)),
      pull: (controller) => controller.error(new TypeError("network error")),
    }, { highWaterMark: 0 });
    return new Response(body, { headers });
  };
  return take(resumingFetch({ resume, fetch: cut }));
}

const cuts = [];
for (let first = 1; first < events.length; first += 40) {
  const some = Array.from({ length: Math.min(40, events.length - first) }, (_, i) => first + i);
  cuts.push(...(await Promise.all(some.map(cutAfter))));
}
console.log(JSON.stringify({ chat: `c-${process.pid}`, events: events.length, whole, cuts }));
