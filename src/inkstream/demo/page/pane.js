// One pane: it reads the list of messages (a log) and each answer (a text stream).
//
// Over HTTP/1.1, all windows of a browser together may open six connections to a host. So a pane
// follows only one stream at a time: the list, or while an answer is being written, that answer.
// After the answer has ended, the pane continues the list at an offset, and misses nothing.
"use strict";

const base = location.pathname.replace(/\/pane$/, "");
const client = inkstream.createClient();
const element = (id) => document.getElementById(id);

// Following -----------------------------------------------------------------------------------

/** Watch a stream until `take` returns true or the stream ends; return the last snapshot. */
function watch(stream, take) {
  return new Promise((resolve) => {
    const look = () => {
      const snapshot = stream.getSnapshot();
      element("connection").hidden = snapshot.connection !== "waiting";
      if (!take(snapshot) && !inkstream.isEnded(snapshot.status)) return;
      leave();
      resolve(snapshot);
    };
    const leave = stream.subscribe(look);
  });
}

async function readList() {
  let offset = null;
  for (;;) {
    const list = client.stream(`${base}/messages`, { initial: { offset } });
    const unread = [];
    let shown = 0;
    const { error } = await watch(list, (snapshot) => {
      // If the list has become shorter (for example because the database was restored), this pane
      // shows messages that no longer exist, and must load again.
      if (snapshot.parts.length < shown) location.reload();
      for (const entry of snapshot.parts.slice(shown)) unread.push(...show(entry));
      shown = snapshot.parts.length;
      offset = snapshot.offset;
      const isEmpty = element("messages").childElementCount === 1;
      element("empty").hidden = snapshot.connection !== "open" || !isEmpty;
      return unread.length > 0;
    });
    if (error) {
      tellProblem(
        error.http === 404
          ? "There is no such conversation. Begin a new one."
          : (error.message ?? "The conversation cannot be read. Reload the page."),
      );
      element("composer").inert = true;
      return;
    }
    for (const answer of unread) await answer.read();
  }
}

// Showing -------------------------------------------------------------------------------------

const WORDS = {
  pending: "waiting",
  streaming: "writing",
  done: "done",
  cancelled: "stopped",
  timeout: "interrupted",
  error: "failed",
  deleted: "deleted",
};

function tellProblem(text) {
  element("problem").textContent = text;
  element("problem").hidden = !text;
}

function make(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/** Keep the last lines of the conversation in view, unless the user has scrolled up. */
function keepingEnd(change) {
  const list = element("messages");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 48;
  change();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

/** Show an entry of the list; return the answers that must be read. */
function show(entry) {
  if (entry.role === "user") {
    keepingEnd(() => element("messages").append(make("div", "message question", entry.text)));
  }
  if (entry.role !== "assistant") return [];
  const answer = new Answer(entry.stream);
  keepingEnd(() => element("messages").append(answer.box));
  return [answer];
}

class Answer {
  constructor(id) {
    const path = `${base}/streams/${encodeURIComponent(id)}`;
    this.stream = client.stream(path, { stopUrl: `${path}/stop` });
    this.box = make("article", "message answer");
    this.text = make("div", "text");
    this.reason = make("p", "reason");
    this.status = make("span", "status");
    const foot = make("div", "foot");
    const name = make("code", "id", id);
    name.title = `The stream's id: inkstream follow ${id}`;
    foot.append(this.status, name);
    this.box.append(this.text, this.reason, foot);
    this.show(this.stream.getSnapshot());
  }

  /** Follow the answer to its end. */
  async read() {
    await watch(this.stream, (snapshot) => {
      keepingEnd(() => this.show(snapshot));
      setStopping(inkstream.isEnded(snapshot.status) ? null : this.stream);
    });
  }

  show({ text, status, error }) {
    this.text.textContent = text;
    const told = error?.http === 404 ? "deleted" : status;
    this.box.dataset.status = told;
    this.status.textContent = WORDS[told];
    this.reason.textContent = told === "deleted" ? "" : (error?.message ?? "");
    this.reason.hidden = !this.reason.textContent;
  }
}

// Asking and stopping -----------------------------------------------------------------------------

let stopping = null;

/** Show the button that stops a stream. Without a stream, show the button that sends a prompt. */
function setStopping(stream) {
  if (stream === stopping) return;
  stopping = stream;
  element("send").hidden = stream !== null;
  element("stop").hidden = stream === null;
  element("stop").disabled = false;
}

/** Send a prompt; return whether the server accepted it. */
async function send(prompt) {
  try {
    const response = await fetch(`${base}/messages`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ prompt }),
    });
    if (response.ok) return true;
    const problem = await response.json().catch(() => ({}));
    tellProblem(problem.detail ?? `The server said ${response.status}.`);
  } catch {
    tellProblem("The server cannot be reached. Try again.");
  }
  return false;
}

async function ask(prompt) {
  if (!prompt.trim() || stopping !== null || element("send").disabled) return;
  tellProblem("");
  element("send").disabled = true;
  // A pane shows a question only after it is stored, when the list sends it to both panes.
  if (await send(prompt)) {
    element("prompt").value = "";
    fit();
  }
  element("send").disabled = false;
}

async function stop() {
  element("stop").disabled = true;
  try {
    await stopping?.stop();
  } catch (error) {
    tellProblem(error.message);
    element("stop").disabled = false;
  }
}

function fit() {
  const field = element("prompt");
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight, 160)}px`;
}

element("prompt").addEventListener("input", fit);
element("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    ask(element("prompt").value);
  }
});
element("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  ask(element("prompt").value);
});
element("stop").addEventListener("click", stop);
for (const button of document.querySelectorAll(".prompts button")) {
  button.addEventListener("click", () => ask(button.textContent));
}

readList();
