import type { EventSourceMessage } from "eventsource-parser";
import { Attempt, type Reason } from "./attempt.js";
import { BASE_MS, backoffMs, isPassing, retryAfterMs } from "./backoff.js";
import { Display } from "./display.js";
import { type Batches, eventBatches } from "./events.js";
import type { Lines } from "./lines.js";
import { isHidden, onPageChange, type PageChange } from "./page.js";
import { readProblem, refusal } from "./problem.js";
import {
  type HeadersSource,
  isEnded,
  type Part,
  type Snapshot,
  type StreamError,
} from "./types.js";

const ANSWER_MS = 6_000;
/**
 * How long the reader waits for a snapshot, which may be large, and for the response to `drive`,
 * because an application may be slow to start an answer.
 */
const PATIENT_ANSWER_MS = 15_000;
const FIRST_BYTE_MS = 3_000;
const SILENCE_MS = 37_500; // 2.5 times the interval of the server's pings
/** A connection that was silent for longer than this is replaced when the page becomes visible. */
const STALE_MS = 20_000;
/** A connection that was open and lasted longer than this resets the count of failures. */
const STEADY_MS = 10_000;
const YOUNG_MS = 5_000;
const YOUNG_BASE_MS = 250;
const POLL_MS = 1_000;
const POLL_MAX_MS = 5_000;

/** How to request one stream. The values of a later watcher replace those of an earlier watcher. */
export interface Access {
  headers?: HeadersSource | undefined;
  /**
   * A POST to this address starts the stream. The reader repeats the POST until the POST succeeds,
   * or until the server refuses it.
   */
  drive?: string | undefined;
  driveBody?: unknown;
  /** Follow the stream also while the page is hidden. */
  background?: boolean | undefined;
}

/** The milliseconds until the next attempt, or null if no attempt follows. */
type Next = number | null;

/** The end of a stream, in a terminal event or in a snapshot. */
interface End {
  status: Snapshot["status"];
  code?: string | null;
  message?: string | null;
  result?: unknown;
}

/**
 * Follows one stream for all watchers on this page. SPEC.md describes the reader's states.
 *
 * The reader makes requests while the stream has watchers and the page is visible, until the stream
 * has ended. With `background`, the page may also be hidden. If the stored text changed, a new
 * `display.transcript` replaces the old transcript.
 */
export class Reader {
  #access: Access = {};
  /** Set while `#run` makes requests. Each call of `#run` has its own object. */
  #life: AbortController | undefined;
  #attempt: Attempt | undefined;
  #endPause: (() => void) | undefined;
  /** True if the server asked for the current pause, so that no page change shortens it. */
  #firm = false;

  #driven = false;
  /** True if events do not arrive through this network, so that the reader requests snapshots. */
  #muted = false;
  /** True if the stream changed during a request, so that the next request must follow directly. */
  #soon = false;
  #idlePolls = 0;
  #failures = 0;
  #baseMs = BASE_MS;
  /**
   * Until this time, a 404 may mean that the stream is not committed yet. The value is 0 after the
   * stream was found.
   */
  #youngUntil = 0;
  #heardAt = 0;

  constructor(
    private readonly address: string,
    private readonly lines: Lines,
    readonly display: Display,
  ) {}

  /**
   * Add a watcher, and follow the stream while it has watchers. When the last watcher has left, the
   * reader calls `onIdle`. Returns a function that removes the watcher.
   */
  watch(listener: () => void, access: Access, onIdle: () => void): () => void {
    const { watchers } = this.display;
    const watcher = () => listener(); // a new function, because the same listener may watch twice
    watchers.add(watcher);
    const known = this.#access;
    this.#access = {
      headers: access.headers ?? known.headers,
      drive: access.drive ?? known.drive,
      driveBody: access.driveBody ?? known.driveBody,
      background: access.background ?? known.background,
    };
    if (!this.#life) this.#open();
    else if (access.drive && !known.drive) this.#askAgain();
    else if (access.background && !known.background) this.hurry();
    return () => {
      if (!watchers.delete(watcher) || watchers.size) return;
      // React unsubscribes and subscribes again in one task (StrictMode, changed options). An
      // element that moves does the same. So decide in a microtask whether the watcher has left.
      queueMicrotask(() => {
        if (watchers.size) return;
        this.#life?.abort();
        this.#life = undefined;
        this.#attempt?.end("left");
        this.#endPause?.();
        this.display.show({ connection: "closed" }, true);
        onIdle();
      });
    };
  }

  /** End the current wait, unless the server asked for that wait. */
  hurry(): void {
    if (!this.#firm) this.#endPause?.();
  }

  /**
   * Show soon that the page has changed the stream: a reader that waits or polls fetches now, or
   * directly after its current request.
   */
  refresh(): void {
    if (this.#endPause) this.hurry();
    else this.#soon = this.display.facts.transport === "polling";
  }

  /** Make the next request now, together with other readers of the same mount. */
  readonly #joinIn = () => {
    const { connection, transport } = this.display.facts;
    if (connection === "waiting" || transport === "polling") this.hurry();
  };

  /** Make a request now: after a failed request, or instead of waiting. */
  retry(): void {
    if (this.#life) this.hurry();
    else if (this.display.watchers.size) this.#open();
  }

  // The loop ---------------------------------------------------------------------------------

  #open(): void {
    const { facts, transcript } = this.display;
    if (isEnded(facts.status)) {
      if (!facts.error?.http) return;
      // Only the request failed, and the stream may continue, so try again.
      facts.status = transcript.parts.length ? "streaming" : "pending";
      facts.error = null;
    }
    this.#youngUntil = Date.now() + YOUNG_MS;
    this.#failures = 0;
    void this.#run((this.#life = new AbortController()));
  }

  async #run(life: AbortController): Promise<void> {
    onPageChange((change) => this.#pageChanged(change), life.signal);
    this.lines.enter(this.address, this.#joinIn, life.signal);
    while (this.#life === life) {
      if (this.#rests) {
        this.display.show({ connection: "closed" });
        await this.#pause();
        continue;
      }
      const next = await this.#ask();
      if (this.#life !== life) return;
      if (next === null) {
        this.#life = undefined;
        life.abort();
      } else if (next && !this.#soon) await this.#pause(next);
      this.#soon = false;
    }
  }

  /**
   * True if the page is hidden, so that the reader must not hold a connection. A browser has only
   * six HTTP/1.1 connections to a server, for all windows together, and hidden pages would use all
   * six. If this page must start the stream (`drive`), the reader first starts the stream.
   */
  get #rests(): boolean {
    const { background, drive } = this.#access;
    return !background && (drive === undefined || this.#driven) && isHidden();
  }

  /** Wait for `ms` milliseconds, or until `#endPause` is called. */
  #pause(ms?: number): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#endPause = undefined;
        this.#firm = false;
        resolve();
      };
      const timer = ms === undefined ? ms : setTimeout(end, ms);
      this.#endPause = end;
    });
  }

  #pageChanged(change: PageChange): void {
    if (change === "hidden") {
      if (this.#rests) this.#attempt?.end("again");
      return;
    }
    this.#failures = 0;
    const moved = change === "moved";
    if (moved) this.#muted = false;
    if (moved || this.#endPause || Date.now() - this.#heardAt > STALE_MS) this.#askAgain();
  }

  #askAgain(): void {
    if (this.#endPause) this.hurry();
    else this.#attempt?.end("again");
  }

  // One request ------------------------------------------------------------------------------

  async #ask(): Promise<Next> {
    const attempt = new Attempt();
    this.#attempt = attempt;
    this.#heardAt = attempt.at;
    const { facts, transcript } = this.display;
    if (facts.connection === "closed") this.display.show({ connection: "connecting" });
    try {
      return await this.#send(attempt, transcript.offset);
    } catch {
      switch (attempt.signal.reason as Reason | undefined) {
        case "left":
          return null;
        case "again":
          return 0;
        case "mute":
          if (!this.#muted) return this.#poll();
      }
      return this.#again(attempt);
    } finally {
      attempt.end("left");
    }
  }

  async #send(attempt: Attempt, offset: string | null): Promise<Next> {
    const { headers, drive, driveBody } = this.#access;
    const { address, lines } = this;
    const { signal } = attempt;
    // If events do not arrive (`#muted`), the reader does not repeat the POST. It requests a
    // snapshot, which also shows whether a POST without a response has started the stream.
    const driving = drive !== undefined && !this.#driven && !this.#muted;
    // After the end was seen, a request for events would return 204, without the stream's status.
    // So the reader requests a snapshot.
    const json = this.#muted || !!offset?.endsWith(".end");
    attempt.give(json || driving ? PATIENT_ANSWER_MS : ANSWER_MS, "mute");
    const question = { address, offset, json, headers, signal, again: () => attempt.end("again") };
    const response = await (driving
      ? lines.drive({ ...question, address: drive }, driveBody ?? {})
      : lines.ask(question));
    signal.throwIfAborted();
    if ("next" in response) return this.#follow(attempt, response, offset);
    if (!response.ok) return this.#refused(attempt, response, offset);

    if (driving) {
      this.#driven = true;
      if (this.#rests) return 0;
    }
    const type = response.headers.get("content-type") ?? "";
    if (type.startsWith("text/event-stream")) {
      const { body } = response;
      if (!body) return this.#poll(); // React Native cannot read an unfinished body
      const batches = eventBatches(body, (ms) => (this.#baseMs = ms));
      return this.#follow(attempt, batches, offset);
    }
    if (type.startsWith("application/json")) {
      const body = await response.json();
      signal.throwIfAborted();
      if (Array.isArray(body?.parts)) return this.#guard(() => this.#takeSnapshot(body, attempt));
    }
    if (driving) return 0; // the stream has started; read it at its address
    return this.#fail({ code: "unexpected_content", message: type, http: response.status });
  }

  async #refused(attempt: Attempt, response: Response, offset: string | null): Promise<Next> {
    const { status } = response;
    if (status === 410 && offset !== null) return this.#restart();
    if (status === 404 && Date.now() < this.#youngUntil) {
      return this.#again(attempt, 0, YOUNG_BASE_MS);
    }
    if (isPassing(status)) return this.#again(attempt, retryAfterMs(response));
    const problem = await readProblem(response);
    attempt.signal.throwIfAborted();
    return this.#fail(problem);
  }

  async #follow(attempt: Attempt, batches: Batches, offset: string | null): Promise<Next> {
    attempt.give(FIRST_BYTE_MS, "mute");
    const { display } = this;
    for await (const batch of batches) {
      attempt.signal.throwIfAborted();
      attempt.give(SILENCE_MS, "silent");
      this.#heardAt = Date.now();
      display.facts.connection = "open";
      display.facts.transport = "events";
      for (const event of batch) {
        const next =
          event.event === "refused" // the refusal concerns this stream, not the whole connection
            ? await this.#refused(attempt, refusal(JSON.parse(event.data)), offset)
            : this.#guard(() => this.#takeEvent(attempt, event));
        if (next !== undefined) return next;
      }
      display.show();
    }
    attempt.signal.throwIfAborted();
    return this.#again(attempt); // the connection ended without the stream's end (G5)
  }

  // Messages --------------------------------------------------------------------------------

  /**
   * Call `take`. If it throws, fail. `#ask` would treat this exception as a network error, and
   * would request the same message again for ever.
   */
  #guard<T>(take: () => T): T | null {
    try {
      return take();
    } catch (error) {
      return this.#fail({ code: "invalid_event", message: String(error), http: 200 });
    }
  }

  /** Process one event. Return undefined to continue reading. */
  #takeEvent(
    attempt: Attempt,
    { event = "message", id, data }: EventSourceMessage,
  ): Next | undefined {
    const isEnd = event === "end";
    if (!isEnd && event !== "message") return undefined;
    this.#youngUntil = 0;
    const value: unknown = JSON.parse(data);
    if (!id) throw new TypeError("no id");
    if (!isEnd) return this.#take(id, [value as Part]);
    // If messages before this event are missing, or if the event belongs to another stream, the
    // event does not end the text.
    if (!this.display.transcript.completes(id)) return this.#again(attempt);
    return this.#take(id, []) ?? this.#finish(value as End);
  }

  #takeSnapshot(body: End & { offset: string; parts: Part[] }, attempt: Attempt): Next {
    const { facts, transcript } = this.display;
    const { version } = transcript;
    if (!transcript.offset?.endsWith(".end")) facts.transport = "polling";
    // If a snapshot is slow too, perhaps no proxy delays events: the network may be slow, or all
    // connections may be in use. So the next request is for events.
    const slow = Date.now() - attempt.at > FIRST_BYTE_MS;
    const wasMuted = this.#muted;
    if (slow) this.#muted = false;
    this.#youngUntil = 0;
    const restart = this.#take(body.offset, body.parts);
    if (restart !== undefined) return restart;
    if (isEnded(body.status)) return this.#finish(body);
    this.#failures = 0;
    this.#idlePolls = transcript.version === version ? this.#idlePolls + 1 : 0;
    if (body.status !== "pending") this.#driven = true;
    else if (this.#access.drive !== undefined && !this.#driven) this.#muted = false;
    this.display.show({ status: body.status, connection: "open" });
    // If the reader polls only because no connection is free, it polls every second, together with
    // other readers of the mount.
    if (!wasMuted) return POLL_MS;
    return Math.min(POLL_MAX_MS, POLL_MS * 1.5 ** this.#idlePolls);
  }

  /**
   * Add messages. If the messages belong to another stream, discard the text, and return the wait
   * before the next request.
   */
  #take(offset: string, parts: Part[]): number | undefined {
    const { facts, transcript } = this.display;
    const taken = transcript.take(offset, parts);
    if (taken === "other") return this.#restart();
    if (taken === "new" && parts.length) {
      this.#failures = 0;
      if (facts.status === "pending") facts.status = "streaming";
    }
    return undefined;
  }

  // Outcomes ---------------------------------------------------------------------

  #finish({ status, code = null, message = null, result = null }: End): null {
    const error = status === "error" || status === "timeout" ? { code, message } : null;
    this.display.show({ status, error, result, connection: "closed", stopping: false }, true);
    return null;
  }

  #fail(error: StreamError): null {
    this.display.show({ status: "error", error, connection: "closed" }, true);
    return null;
  }

  #restart(): number {
    this.display.clear();
    this.display.show({ status: "pending", connection: "connecting" });
    return 0;
  }

  /** Fetch snapshots from now on, because events arrive too late, or this page cannot read them. */
  #poll(): number {
    this.#idlePolls = 0;
    this.#muted = true;
    return 0;
  }

  /** Return the wait before a request for events, because perhaps only the network has failed. */
  #again(attempt: Attempt, askedMs = 0, baseMs = this.#baseMs): number {
    // A request that nobody answers may last longer than STEADY_MS, and must count as a failure.
    const opened = this.display.facts.connection === "open";
    if (opened && Date.now() - attempt.at > STEADY_MS) this.#failures = 0;
    this.#muted = false;
    this.display.show({ transport: "events", connection: "waiting" });
    this.#firm = askedMs > 0;
    return askedMs + backoffMs(this.#failures++, baseMs);
  }
}
