import { absolute } from "./address.js";
import { BASE_MS, backoffMs, isPassing, retryAfterMs } from "./backoff.js";
import { type Block, Blocks } from "./blocks.js";
import { pageStops, type StopStorage } from "./kept.js";
import { onPageChange } from "./page.js";
import { readProblem } from "./problem.js";
import { deliverStop } from "./stop.js";
import { type HeadersSource, InkstreamError } from "./types.js";

export { type HeadersSource, InkstreamError, type StopStorage };

const SILENCE_MS = 37_500; // 2.5 times the interval of the server's pings
/** The types that the last event of an answer may have, in the formats AI SDK and AG-UI. */
const LAST = new Set(["finish", "abort", "error", "RUN_FINISHED", "RUN_ERROR"]);

export interface ResumingFetchOptions {
  /** A GET to this address, with the last event's id in `Last-Event-ID`, continues the answer. */
  resume: string | URL;
  /** `stop()` sends a POST to this address. */
  stop?: string | URL | undefined;
  /**
   * Headers for the request of `stop()`, and for requests that continue an answer. A request that
   * continues an answer also has the headers of the first request, except headers that this option
   * replaces. A function is called before each request, and may renew a token.
   */
  headers?: HeadersSource | undefined;
  /** The `credentials` of `fetch` in the request of `stop()`; `same-origin` by default. */
  credentials?: RequestCredentials | undefined;
  /** A function that is used instead of the global `fetch`. */
  fetch?: typeof globalThis.fetch | undefined;
  /**
   * Called when the stored answer differs from the answer on the page, because a database was
   * restored from a backup or the answer was deleted. The page's answer then ends with an error,
   * and the page should load the history again.
   */
  onReset?: (() => void) | undefined;
  /** Where each stop is stored until the server confirms it; `localStorage` by default. */
  stops?: StopStorage | undefined;
}

/** A `fetch` that repairs lost connections, with a method to stop the answer. */
export type ResumingFetch = typeof globalThis.fetch & {
  /**
   * Ask the server to end the answer for all readers. The promise resolves when the server has
   * confirmed.
   *
   * The stop is stored until the server confirms it, also while the page is offline. After a
   * reload, the next request through a `fetch` with the same option `stop` delivers the stop.
   * Aborting a request does not stop the answer.
   *
   * @throws InkstreamError if the server refuses.
   */
  stop(): Promise<void>;
};

/**
 * Return a `fetch` for any client of server-sent events. When a connection is lost, this `fetch`
 * requests the events after the last event's id, and appends them to the response. So the client
 * sees one complete answer.
 *
 * The `fetch` retries until the answer has ended, the server refuses, or the request is aborted. If
 * the server refuses, or the stored answer has changed, the answer ends with an `InkstreamError`.
 * An answer whose events have no ids cannot continue on another connection. So this answer ends
 * when its first connection ends, and with an error if this connection broke.
 * Text is never doubled, and the texts of two answers are never mixed. A response that is not an
 * event stream is returned unchanged.
 *
 * A call of `resumingFetch` makes no request, so a page may call it in each render.
 */
export function resumingFetch(options: ResumingFetchOptions): ResumingFetch {
  const send: typeof fetch = (input, init) => (options.fetch ?? fetch)(input, init);
  const stops = options.stops ?? pageStops();
  const mine = `${absolute(options.stop ?? options.resume)} `;

  /**
   * Deliver a stop. With `once`, send one request, and throw the error of `fetch` if the request
   * fails. Otherwise retry as `deliverStop` does.
   */
  const deliver = (name: string, once: boolean): Promise<void> => {
    const body = name.slice(mine.length);
    const post = async (): Promise<Response> => {
      const headers = new Headers(await given(options.headers));
      headers.set("content-type", "application/json");
      return send(String(options.stop), {
        method: "POST",
        keepalive: true, // so that the request arrives even if the user leaves the page
        credentials: options.credentials ?? "same-origin",
        headers,
        body,
      });
    };
    if (once)
      return post().then(({ status }) => isPassing(status) || stops.drop(name)) as Promise<void>;
    return deliverStop({ name, storage: stops, post, isOver: () => !stops.all().includes(name) });
  };
  const kept = () => (options.stop ? stops.all().filter((name) => name.startsWith(mine)) : []);

  const resuming = async (input: RequestInfo | URL, init: RequestInit = {}): Promise<Response> => {
    const request = input instanceof Request ? input : undefined;
    const asks = (init.method ?? request?.method ?? "GET") !== "GET";
    // Deliver stored stops before a new question. An old stop that arrives after the question would
    // end the new answer.
    if (asks) await Promise.all(kept().map((name) => deliver(name, true)));
    else for (const name of kept()) deliver(name, false).catch(() => {});

    const outer = init.signal ?? request?.signal;
    const answer = new Answer(outer, options, send, {
      headers: new Headers(init.headers ?? request?.headers),
      credentials: init.credentials ?? request?.credentials ?? "same-origin",
    });
    const response = await answer.open((signal) => send(input, { ...init, signal }));
    current.set(mine, response.headers.get("stream-id"));
    return response;
  };
  const stop = async () => {
    if (!options.stop) throw new TypeError("resumingFetch: give { stop: url } to use stop()");
    const streamId = current.get(mine);
    return deliver(mine + JSON.stringify(streamId ? { stream_id: streamId } : {}), false);
  };
  return Object.assign(resuming, { stop }) as ResumingFetch;
}

/**
 * For each address of a stop, the id of the latest stream. A page may call `resumingFetch` in each
 * render, so each call must find the ids of the earlier calls.
 */
const current = new Map<string, string | null>();

async function given(headers: HeadersSource | undefined): Promise<HeadersInit | undefined> {
  return typeof headers === "function" ? await headers() : headers;
}

/** One answer, over one or more connections. */
class Answer {
  readonly #over = new AbortController();
  #connection = new AbortController();
  #wake = () => {};
  /** True if the server asked for the current pause, so that no page change shortens it. */
  #firm = false;
  #lastId: string | undefined;
  #baseMs = BASE_MS;
  #failures = 0;

  constructor(
    outer: AbortSignal | null | undefined,
    private readonly options: ResumingFetchOptions,
    private readonly send: typeof fetch,
    private readonly like: { headers: Headers; credentials: RequestCredentials },
  ) {
    this.#lastId = like.headers.get("last-event-id") ?? undefined;
    const leave = () => this.#leave(outer?.reason);
    if (outer?.aborted) leave();
    else outer?.addEventListener("abort", leave, { signal: this.#over.signal });
  }

  /** Make the first request. A response that is not an event stream is returned unchanged. */
  async open(first: (signal: AbortSignal) => Promise<Response>): Promise<Response> {
    const response = await first(this.#connection.signal).catch((error: unknown) => {
      this.#over.abort();
      throw error;
    });
    if (!isEvents(response)) return response;
    onPageChange((change) => {
      if (change === "moved") this.#lose("the network of this page has changed");
      if (change !== "hidden" && !this.#firm) this.#wake();
    }, this.#over.signal);
    const events = this.#events(response);
    const encoder = new TextEncoder();
    const body = new ReadableStream<Uint8Array>({
      pull: async (controller) => {
        const { done, value } = await events.next().catch((error: unknown) => {
          this.#leave(error);
          throw error;
        });
        if (done) this.#leave();
        if (done) controller.close();
        else controller.enqueue(encoder.encode(value));
      },
      cancel: (reason) => this.#leave(reason),
    });
    const headers = new Headers(response.headers);
    headers.delete("content-length");
    headers.delete("content-encoding");
    return new Response(body, { status: response.status, headers });
  }

  #leave(reason?: unknown): void {
    this.#over.abort(reason);
    this.#connection.abort(reason);
    this.#wake();
  }

  /** Give up the connection. The error is of the kind that `fetch` throws for a lost connection. */
  #lose(why: string): void {
    this.#connection.abort(new TypeError(`network error: ${why}`));
  }

  async *#events(response: Response): AsyncGenerator<string, void, undefined> {
    let passed = false;
    let ended = false;
    for (let next: Response | undefined = response; next;) {
      let lost: unknown;
      try {
        for await (const block of this.#blocks(next)) {
          if (block.id) [this.#lastId, this.#failures] = [block.id, 0];
          if (block.retryMs !== undefined) this.#baseMs = block.retryMs;
          passed ||= block.data !== undefined;
          ended ||= isLast(block);
          yield block.text;
        }
      } catch (error) {
        lost = error;
      }
      this.#over.signal.throwIfAborted();
      if (ended) return;
      // Without event ids the answer cannot continue, because a new request would repeat the
      // answer's text.
      if (this.#lastId === undefined && passed) {
        if (lost === undefined) return;
        throw lost;
      }
      next = await this.#again();
      if (!next && lost !== undefined) this.#reset(204);
    }
  }

  async *#blocks({ body }: Response): AsyncGenerator<Block, void, undefined> {
    if (!body) return;
    const blocks = new Blocks();
    const decoder = new TextDecoder();
    const chunks = body.getReader();
    const { signal } = this.#connection;
    const cancel = () => void chunks.cancel(signal.reason).catch(() => {});
    signal.addEventListener("abort", cancel, { once: true });
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      for (;;) {
        timer = setTimeout(() => this.#lose("the connection was silent"), SILENCE_MS);
        const { done, value } = await chunks.read();
        clearTimeout(timer);
        signal.throwIfAborted();
        if (done) return;
        yield* blocks.take(decoder.decode(value, { stream: true }));
      }
    } finally {
      clearTimeout(timer);
      cancel();
    }
  }

  /** Request further events until the server answers. Return undefined if there are no more. */
  async #again(): Promise<Response | undefined> {
    for (let askedMs = 0; ;) {
      this.#firm = askedMs > 0;
      await this.#pause(askedMs + backoffMs(this.#failures++, this.#baseMs));
      this.#over.signal.throwIfAborted();
      this.#connection = new AbortController();
      const response = await this.#ask().catch(() => undefined);
      this.#over.signal.throwIfAborted();
      askedMs = response ? retryAfterMs(response) : 0;
      if (!response || isPassing(response.status)) continue;
      if (response.status === 204) return undefined;
      if (response.status === 410) this.#reset(410);
      if (isEvents(response)) return response;
      throw new InkstreamError(
        response.ok
          ? { code: "unexpected_content", message: null, http: response.status }
          : await readProblem(response),
      );
    }
  }

  async #ask(): Promise<Response> {
    const headers = new Headers(this.like.headers);
    new Headers(await given(this.options.headers)).forEach((value, name) =>
      headers.set(name, value),
    );
    headers.delete("content-type"); // only the first request has a body
    headers.set("accept", "text/event-stream");
    if (this.#lastId !== undefined) headers.set("last-event-id", this.#lastId);
    return this.send(String(this.options.resume), {
      headers,
      credentials: this.like.credentials,
      cache: "no-store",
      signal: this.#connection.signal,
    });
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#wake(), ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** End the answer with an error, because the text on the page differs from the stored text. */
  #reset(http: number): never {
    this.options.onReset?.();
    throw new InkstreamError({
      code: "offset_gone",
      message: "This answer is stored differently now. Load the page again to see it.",
      http,
    });
  }
}

function isEvents(response: Response): boolean {
  return response.ok && !!response.headers.get("content-type")?.startsWith("text/event-stream");
}

/** Return whether an event ends an answer, in any format. Most events need no parsing for this. */
function isLast({ event, data = "" }: Block): boolean {
  if (event === "end" || data === "[DONE]") return true;
  if (!/"type"\s*:\s*"(?:finish|abort|error|RUN_)/.test(data)) return false;
  try {
    return LAST.has(JSON.parse(data).type); // the pattern may match an object inside the data
  } catch {
    return false;
  }
}
