import type { EventSourceMessage } from "eventsource-parser";
import { withQuery } from "./address.js";
import { BASE_MS, backoffMs, retryAfterMs } from "./backoff.js";
import { eventBatches } from "./events.js";
import { readProblem } from "./problem.js";
import { Transcript } from "./transcript.js";
import {
  type HeadersSource,
  type Initial,
  type Part,
  type Snapshot,
  type StreamError,
  isEnded,
} from "./types.js";
import { type Wake, onWake } from "./wake.js";

const ANSWER_MS = 6_000;
const FIRST_BYTE_MS = 3_000;
const PING_MS = 15_000;
const SILENCE_MS = 2.5 * PING_MS;
/** Without a sign of life for this long a connection is doubted when somebody looks again. */
const STALE_MS = 20_000;
/** A connection that was heard for this long was a good one. */
const STEADY_MS = 10_000;
const YOUNG_MS = 5_000;
const YOUNG_BASE_MS = 250;
const POLL_MS = 1_000;
const POLL_MAX_MS = 5_000;
const FRAME_MS = 16;

/** How to ask for one stream; a later watcher's answers replace an earlier one's. */
export interface Access {
  headers?: HeadersSource | undefined;
  /** POST here until it was answered; it starts the stream if nobody has. */
  drive?: string | undefined;
  driveBody?: unknown;
}

/** Send a request with the client's own headers, and a watcher's on top. */
export type Send = (
  address: string,
  init: RequestInit,
  headers: HeadersSource | undefined,
) => Promise<Response>;

/** A wait before the next request. `firm`: the server asked for it, so waking does not cut it short. */
interface Pause {
  ms: number;
  firm?: boolean;
}

const AT_ONCE: Pause = { ms: 0 };

/** Why a request was given up from here. */
type Reason = "left" | "again" | "mute" | "silent";

/** Return the snapshot that stands before anything was asked. */
export function firstSnapshot(initial: Initial = {}): Snapshot {
  const parts = initial.parts ?? (initial.text ? [initial.text] : []);
  const { status = parts.length ? "streaming" : "pending", error = null, offset = null } = initial;
  return {
    status,
    text: parts.filter((part) => typeof part === "string").join(""),
    parts,
    error,
    result: initial.result ?? null,
    offset,
    transport: "events",
    connection: isEnded(status) ? "closed" : "connecting",
  };
}

/**
 * One stream, as everybody on this page sees it: SPEC.md as code.
 *
 * Asks while it is watched, until the stream has ended. What it shows lies in `snapshot`; `transcript`
 * is replaced, not changed, when its text turned out to be of a stream that is gone.
 */
export class Reader {
  snapshot: Snapshot;
  transcript: Transcript;

  readonly #watchers = new Set<() => void>();
  #access: Access = {};
  /** Present while there is a loop that asks; another object is another loop. */
  #life: object | undefined;
  #attempt = new AbortController();
  #pause: { firm: boolean; end: () => void } | undefined;

  #driven = false;
  #met = false;
  #polling = false;
  #pollMs = POLL_MS;
  #failures = 0;
  #baseMs = BASE_MS;
  #startedAt = 0;
  #heardAt = 0;

  /** What the next snapshot will say beside the transcript. */
  #facts: Pick<Snapshot, "status" | "error" | "result" | "transport" | "connection">;
  #shownVersion = 0;
  #publishedAt = -Infinity;
  #publishing: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly address: string,
    private readonly send: Send,
    first: Snapshot,
  ) {
    this.snapshot = first;
    this.transcript = new Transcript(first.offset, first.parts);
    const { status, error, result, transport: by, connection } = first;
    this.#facts = { status, error, result, transport: by, connection };
  }

  /** Follow the stream for as long as somebody watches; `onIdle` tells when nobody does any more. */
  watch(listener: () => void, access: Access, onIdle: () => void): () => void {
    const watcher = () => listener(); // its own identity: the same listener may watch twice
    this.#watchers.add(watcher);
    const starts = access.drive !== undefined && this.#access.drive === undefined;
    for (const [name, value] of Object.entries(access)) {
      if (value !== undefined) this.#access = { ...this.#access, [name]: value };
    }
    if (this.#life === undefined) this.#open();
    else if (starts) this.#askAgain();
    return () => {
      if (!this.#watchers.delete(watcher) || this.#watchers.size > 0) return;
      // React takes away and gives back in one task (StrictMode, changed options); so do moved
      // elements. Only who is still away after it has left.
      queueMicrotask(() => {
        if (this.#watchers.size > 0) return;
        this.#close();
        onIdle();
      });
    };
  }

  /** Do not wait any longer, unless the server asked for the wait. */
  hurry(): void {
    if (this.#pause?.firm === false) this.#pause.end();
  }

  // The loop ---------------------------------------------------------------------------------

  #open(): void {
    if (isEnded(this.#facts.status)) {
      if (this.#facts.error?.http === undefined) return;
      const status = this.transcript.parts.length > 0 ? "streaming" : "pending";
      this.#show({ status, error: null }); // the request failed, not the stream: try again
    }
    this.#life = {};
    this.#startedAt = Date.now();
    this.#failures = 0;
    this.#show({ connection: "connecting" });
    void this.#run(this.#life);
  }

  async #run(life: object): Promise<void> {
    const deafen = onWake((wake) => this.#wake(wake));
    for (;;) {
      const pause = await this.#ask();
      if (this.#life !== life) break;
      if (pause === null) {
        this.#life = undefined;
        break;
      }
      if (pause.ms > 0) await this.#rest(pause);
      if (this.#life !== life) break;
    }
    deafen();
  }

  #close(): void {
    this.#life = undefined;
    this.#attempt.abort("left" satisfies Reason);
    this.#pause?.end();
    this.#show({ connection: "closed" });
    this.#publish();
  }

  #rest({ ms, firm = false }: Pause): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#pause = undefined;
        resolve();
      };
      const timer = setTimeout(end, ms);
      this.#pause = { firm, end };
    });
  }

  #wake(wake: Wake): void {
    if (wake === "moved") this.#setPolling(false);
    if (this.#pause) this.hurry();
    else if (wake === "moved" || Date.now() - this.#heardAt > STALE_MS) this.#askAgain();
  }

  #askAgain(): void {
    if (this.#pause) this.hurry();
    else this.#attempt.abort("again" satisfies Reason);
  }

  // One request ------------------------------------------------------------------------------

  /** Ask once, take what comes, and return how long to wait before asking again; null: never. */
  async #ask(): Promise<Pause | null> {
    const attempt = new AbortController();
    this.#attempt = attempt;
    const { signal } = attempt;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const within = (ms: number, reason: Reason) => {
      clearTimeout(timer);
      timer = setTimeout(() => attempt.abort(reason), ms);
    };
    this.#heardAt = Date.now();
    try {
      within(ANSWER_MS, "mute");
      const { offset } = this.transcript;
      const driving = this.#access.drive !== undefined && !this.#driven;
      const response = await this.#request(offset, driving, signal);
      signal.throwIfAborted();
      if (response.ok) return await this.#answer(response, driving, signal, within);
      return await this.#refused(response, offset, signal);
    } catch (error) {
      if (error instanceof Fatal) return this.#fail(error.why);
      switch (signal.reason as Reason | DOMException | undefined) {
        case "left":
          return null;
        case "again":
          return AT_ONCE;
        case "mute":
          if (this.#polling) break;
          this.#setPolling(true);
          return AT_ONCE;
      }
      return this.#again();
    } finally {
      clearTimeout(timer);
      attempt.abort("left" satisfies Reason);
    }
  }

  #request(offset: string | null, driving: boolean, signal: AbortSignal): Promise<Response> {
    // With the end seen already, events would say 204 and not how it ended.
    const snapshot = this.#polling || offset?.endsWith(".end");
    const { headers, drive, driveBody } = this.#access;
    const address = withQuery(driving ? (drive as string) : this.address, {
      ...(snapshot && { format: "json" }),
      ...(offset !== null && { offset }),
    });
    const init: RequestInit = {
      signal,
      cache: "no-store",
      headers: { accept: snapshot ? "application/json" : "text/event-stream" },
    };
    if (driving) {
      init.method = "POST";
      if (driveBody !== undefined) {
        init.body = JSON.stringify(driveBody);
        init.headers = { ...init.headers, "content-type": "application/json" };
      }
    }
    return this.send(address, init, headers);
  }

  async #answer(
    response: Response,
    driving: boolean,
    signal: AbortSignal,
    within: (ms: number, reason: Reason) => void,
  ): Promise<Pause | null> {
    if (driving) this.#driven = true;
    const type = response.headers.get("content-type") ?? "";
    if (type.startsWith("text/event-stream")) return this.#follow(response, signal, within);
    if (response.status === 200 && type.startsWith("application/json")) {
      const body = await response.json();
      signal.throwIfAborted();
      if (Array.isArray(body?.parts) && typeof body.offset === "string") return this.#poll(body);
    }
    if (driving) return AT_ONCE; // started, and the answer is to be had at the address
    throw new Fatal({
      code: "unexpected_content",
      message: `the server answered ${type || "without content"}`,
      http: response.status,
    });
  }

  async #follow(
    response: Response,
    signal: AbortSignal,
    within: (ms: number, reason: Reason) => void,
  ): Promise<Pause | null> {
    within(FIRST_BYTE_MS, "mute");
    if (!response.body) {
      this.#setPolling(true); // React Native cannot read a body that has not ended
      return AT_ONCE;
    }
    const since = Date.now();
    const retry = (ms: number) => (this.#baseMs = ms);
    for await (const batch of eventBatches(response.body, retry)) {
      signal.throwIfAborted();
      within(SILENCE_MS, "silent");
      this.#heardAt = Date.now();
      this.#met = true;
      if (this.#heardAt - since > STEADY_MS) this.#failures = 0;
      this.#facts.connection = "open";
      this.#setPolling(false);
      for (const event of batch) {
        const pause = this.#event(event);
        if (pause !== undefined) return pause;
      }
      this.#schedule();
    }
    signal.throwIfAborted();
    return this.#again(); // whatever it was, it was not the end of the stream (G5)
  }

  /** Take one event; undefined: go on reading. */
  #event({ event, id, data }: EventSourceMessage): Pause | null | undefined {
    if (event !== undefined && event !== "message" && event !== "end") return undefined;
    const value = parse(data);
    if (id === undefined || value === undefined) {
      const message = "the server sent an event that is not a message";
      throw new Fatal({ code: "invalid_event", message, http: 200 });
    }
    if (event === "end") {
      // Not the end of this text: messages are missing, or they are another stream's.
      if (!this.transcript.completes(id)) return this.#again();
      return this.#take(id, []) ?? this.#finish(value as End);
    }
    return this.#take(id, [value as Part]);
  }

  #poll(body: End & { offset: string; parts: Part[] }): Pause | null {
    const before = this.transcript.offset;
    this.#met = true;
    const restart = this.#take(body.offset, body.parts);
    if (restart) return restart;
    if (isEnded(body.status)) return this.#finish(body);
    const moved = this.transcript.offset !== before;
    this.#pollMs = moved ? POLL_MS : Math.min(POLL_MAX_MS, this.#pollMs * 1.5);
    this.#failures = 0;
    this.#show({ status: body.status, connection: "open" });
    return { ms: this.#pollMs };
  }

  /** Take messages; a pause says that the text is another stream's, and was dropped. */
  #take(offset: string, parts: Part[]): Pause | undefined {
    const taken = this.transcript.take(offset, parts);
    if (taken === "other") return this.#restart();
    if (taken === "new" && parts.length > 0) {
      this.#failures = 0;
      if (this.#facts.status === "pending") this.#facts.status = "streaming";
    }
    return undefined;
  }

  // What came of it --------------------------------------------------------------------------

  #finish({ status, code, message, result }: End): null {
    const failed = status === "error" || status === "timeout";
    const error = failed ? { code: code ?? null, message: message ?? null } : null;
    this.#show({ status, error, result: result ?? null, connection: "closed" });
    this.#publish();
    return null;
  }

  #fail(error: StreamError): null {
    this.#show({ status: "error", error, connection: "closed" });
    this.#publish();
    return null;
  }

  #restart(): Pause {
    this.transcript = new Transcript();
    this.#shownVersion = -1;
    this.#show({ status: "pending", connection: "connecting" });
    return AT_ONCE;
  }

  /** Wait for the next try. What stopped events may have been the network, so they come first. */
  #again(askedMs = 0, baseMs = this.#baseMs): Pause {
    this.#setPolling(false);
    this.#show({ connection: "waiting" });
    return { ms: askedMs + backoffMs(this.#failures++, baseMs), firm: askedMs > 0 };
  }

  async #refused(
    response: Response,
    offset: string | null,
    signal: AbortSignal,
  ): Promise<Pause | null> {
    const { status } = response;
    if (status === 410 && offset !== null) return this.#restart();
    if (status === 404 && !this.#met && Date.now() - this.#startedAt < YOUNG_MS) {
      return this.#again(0, YOUNG_BASE_MS); // the application may be about to commit it
    }
    if (status === 408 || status === 425 || status === 429 || status >= 502) {
      return this.#again(retryAfterMs(response.headers.get("retry-after")));
    }
    const problem = await readProblem(response);
    signal.throwIfAborted();
    return this.#fail(problem);
  }

  // What is shown ----------------------------------------------------------------------------

  #setPolling(polling: boolean): void {
    this.#polling = polling;
    this.#facts.transport = polling ? "polling" : "events";
    if (!polling) this.#pollMs = POLL_MS;
  }

  #show(facts: Partial<Snapshot>): void {
    Object.assign(this.#facts, facts);
    this.#schedule();
  }

  /** Publish now, or when the last time is a frame ago. */
  #schedule(): void {
    if (this.#publishing !== undefined) return;
    const wait = this.#publishedAt + FRAME_MS - performance.now();
    if (wait <= 0) this.#publish();
    else this.#publishing = setTimeout(() => this.#publish(), wait);
  }

  #publish(): void {
    clearTimeout(this.#publishing);
    this.#publishing = undefined;
    const { text, parts, offset, version } = this.transcript;
    const changed = version !== this.#shownVersion;
    const next: Snapshot = {
      ...this.#facts,
      text,
      parts: changed ? [...parts] : this.snapshot.parts,
      offset,
    };
    const known = this.snapshot;
    if ((Object.keys(next) as (keyof Snapshot)[]).every((key) => next[key] === known[key])) return;
    this.#shownVersion = version;
    this.#publishedAt = performance.now();
    this.snapshot = next;
    for (const watcher of [...this.#watchers]) {
      try {
        watcher();
      } catch (error) {
        queueMicrotask(() => {
          throw error; // theirs: reported as uncaught, and no reason for a reader to stumble
        });
      }
    }
  }
}

/** How a stream ended, as both formats say it. */
interface End {
  status: Snapshot["status"];
  code?: string | null;
  message?: string | null;
  result?: unknown;
}

/** The server said something that asking again will not change. */
class Fatal extends Error {
  constructor(readonly why: StreamError) {
    super();
  }
}

function parse(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    return undefined;
  }
}
