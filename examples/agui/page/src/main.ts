import { HttpAgent, type Message } from "@ag-ui/client";
import { resumingFetch } from "inkstream/fetch";
import { draw } from "./messages";
import "./style.css";

// The address contains the thread, so that a reload and a second window show the same thread.
const address = new URL(location.href);
const threadId = address.searchParams.get("thread") ?? Math.random().toString(36).slice(2, 12);
address.searchParams.set("thread", threadId);
history.replaceState(null, "", address);

const thread = `/agui?threadId=${threadId}`;
const fetching = resumingFetch({ resume: thread, stop: `/agui/stop?threadId=${threadId}` });
const agent = new HttpAgent({ url: "/agui", threadId, fetch: fetching });

const form = document.querySelector<HTMLFormElement>("#ask")!;
const stop = document.querySelector<HTMLButtonElement>("#stop")!;
const failed = document.querySelector<HTMLElement>("#failed")!;
const status = document.querySelector<HTMLElement>("#status")!;

/** Start a run, or follow a run that has begun. The server recognises the run by its id. */
async function run(question: Message, runId: string = crypto.randomUUID()): Promise<void> {
  say("running");
  agent.addMessage(question);
  try {
    await agent.runAgent({ runId });
    if (status.dataset["status"] === "running") say("ready");
  } catch (error) {
    say("error", String(error));
  }
}

function say(now: "ready" | "running" | "error", message = ""): void {
  status.dataset["status"] = now;
  stop.hidden = now !== "running";
  form.querySelector("button")!.disabled = now === "running";
  failed.hidden = !message;
  failed.textContent = message;
}

const stopped = new Set<string>();

agent.subscribe({
  onMessagesChanged: ({ messages }) => draw(messages, stopped),
  onRunFinishedEvent: ({ event, messages }) => {
    if (event.outcome?.type === "cancelled") stopped.add(messages.at(-1)?.id ?? "");
    draw(messages, stopped);
  },
  // After this event, runAgent() does not reject, so `run` does not show the error.
  onRunErrorEvent: ({ event }) => say("error", event.message),
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const content = String(new FormData(form).get("prompt"));
  if (!content.trim() || status.dataset["status"] === "running") return;
  form.reset();
  void run({ id: crypto.randomUUID(), role: "user", content });
});

stop.addEventListener("click", () => {
  stop.disabled = true;
  void fetching.stop().finally(() => (stop.disabled = false)); // a stop is stored while offline
});

/** Follow each run again, to show its stored events. The last run may still continue. */
async function show(): Promise<void> {
  const { runs } = await (await fetch(thread, { headers: { accept: "application/json" } })).json();
  for (const { runId, question } of runs) await run(question, runId);
  status.dataset["loaded"] = "";
}

void show();
