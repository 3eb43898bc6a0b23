// One pane: the list of messages (a log) and each answer (a text), read from their stored streams.
//
// A browser opens six connections to a host, all its windows together, and an EventSource keeps
// one for as long as it lives. So a pane has one at a time: it follows the list, and while an
// answer is written, that answer; only one is written at a time. A hidden pane has none. Nothing is
// missed in between, because everything is read from an offset.
"use strict";

const base = location.pathname.replace(/\/pane$/, "");
const RETRY_MS = 1000;
const element = (id) => document.getElementById(id);

// Following -----------------------------------------------------------------------------------

/** Return a stream's snapshot after an offset, trying until there is one; null: there is none. */
async function load(path, offset) {
  for (;;) {
    try {
      const query = new URLSearchParams({ format: "json", ...(offset && { offset }) });
      const response = await fetch(`${path}?${query}`);
      if (response.ok) {
        setConnected(true);
        return await response.json();
      }
      if (response.status === 404) return null;
      // Created anew, or restored from a backup: what this pane knows is of another stream.
      if (response.status === 410) location.reload();
    } catch {
      // No connection: the server is away.
    }
    setConnected(false);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/**
 * Follow a stream from an offset, and give each message to `take`, until that returns true.
 * Return the end if the stream ended, null if it is to be loaded and followed again.
 */
function listen(path, offset, take) {
  return new Promise((resolve) => {
    const events = new EventSource(`${path}?${new URLSearchParams({ offset })}`);
    const leave = (end) => {
      events.close();
      document.removeEventListener("visibilitychange", rest);
      resolve(end);
    };
    const rest = () => {
      if (document.hidden) leave(null);
    };
    document.addEventListener("visibilitychange", rest);
    events.onopen = () => setConnected(true);
    events.onmessage = (event) => {
      if (take(JSON.parse(event.data), event.lastEventId)) leave(null);
    };
    events.addEventListener("end", (event) => leave(JSON.parse(event.data)));
    events.onerror = () => {
      setConnected(false);
      // While CONNECTING the browser comes back by itself, with the last id. CLOSED (any status
      // but 200, for example a proxy's 502) is for good: then it is up to the caller.
      if (events.readyState === EventSource.CLOSED) setTimeout(leave, RETRY_MS, null);
    };
  });
}

function visible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true });
  }).then(visible);
}

async function readList() {
  const path = `${base}/messages`;
  let offset = "-1";
  let unread = [];
  const take = (entry, id) => {
    offset = id;
    const answer = show(entry);
    if (answer) unread.push(answer);
    return answer !== null;
  };
  for (;;) {
    const snapshot = await load(path, offset);
    if (snapshot === null) {
      tellProblem("There is no such conversation. Begin a new one.");
      element("composer").inert = true;
      return;
    }
    for (const entry of snapshot.parts) take(entry, snapshot.offset);
    element("empty").hidden = element("messages").childElementCount > 1;
    for (const answer of unread) await readAnswer(answer);
    unread = [];
    await visible();
    await listen(path, snapshot.offset, take);
  }
}

async function readAnswer(answer) {
  const path = `${base}/streams/${encodeURIComponent(answer.id)}`;
  for (;;) {
    const snapshot = await load(path);
    if (snapshot === null) {
      answer.end({ status: "deleted" });
      return;
    }
    answer.set(snapshot.parts);
    if (snapshot.ended_at !== null) {
      answer.end(snapshot);
      return;
    }
    answer.live(snapshot.status);
    await visible();
    const end = await listen(path, snapshot.offset, (piece) => answer.add(piece));
    if (end !== null) {
      answer.end(end);
      return;
    }
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

let stopping = null;

function setConnected(connected) {
  element("connection").hidden = connected;
}

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

/** Keep the end of the conversation in view, unless the reader has scrolled up. */
function keepingEnd(change) {
  const list = element("messages");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 48;
  change();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

/** Show an entry of the list; return the answer to be read if it is one. */
function show(entry) {
  let answer = null;
  keepingEnd(() => {
    element("empty").hidden = true;
    if (entry.role === "user") {
      element("messages").append(make("div", "message question", entry.text));
    } else if (entry.role === "assistant") {
      answer = new Answer(entry.stream);
      element("messages").append(answer.box);
    }
  });
  return answer;
}

class Answer {
  constructor(id) {
    this.id = id;
    this.box = make("article", "message answer");
    // A text node of its own: text goes onto the page as text, whatever is in it, and appending
    // to it does not copy what is there.
    this.text = document.createTextNode("");
    const body = make("div", "text");
    body.append(this.text);
    this.reason = make("p", "reason");
    this.reason.hidden = true;
    this.status = make("span", "status", WORDS.pending);
    const foot = make("div", "foot");
    const name = make("code", "id", id);
    name.title = "The stream's id: inkstream follow " + id;
    foot.append(this.status, name);
    this.box.append(body, this.reason, foot);
    this.box.dataset.status = "pending";
  }

  set(parts) {
    const text = parts.filter((part) => typeof part === "string").join("");
    if (text !== this.text.data) keepingEnd(() => (this.text.data = text));
  }

  add(piece) {
    if (typeof piece === "string") keepingEnd(() => this.text.appendData(piece));
    this.mark("streaming");
  }

  mark(status) {
    this.status.textContent = WORDS[status] ?? status;
    this.box.dataset.status = status;
  }

  live(status) {
    this.mark(status);
    setAnswering(this.id);
  }

  end({ status, message }) {
    keepingEnd(() => {
      this.mark(status);
      this.reason.textContent = message ?? "";
      this.reason.hidden = !message;
    });
    setAnswering(null);
  }
}

// Asking and stopping -----------------------------------------------------------------------------

function setAnswering(id) {
  stopping = id;
  element("send").hidden = id !== null;
  element("stop").hidden = id === null;
  element("stop").disabled = false;
}

async function post(path, body) {
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body ?? {}),
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
  // Nothing is shown before it is stored: the question comes back with the list, in both panes.
  if (await post(`${base}/messages`, { prompt })) {
    element("prompt").value = "";
    fit();
  }
  element("send").disabled = false;
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
element("stop").addEventListener("click", () => {
  if (stopping === null) return;
  element("stop").disabled = true;
  post(`${base}/streams/${encodeURIComponent(stopping)}/stop`).then((stopped) => {
    if (!stopped) element("stop").disabled = false;
  });
});
for (const button of document.querySelectorAll(".prompts button")) {
  button.addEventListener("click", () => ask(button.textContent));
}

readList();
