import { withQuery } from "./address.js";
import type { Link } from "./link.js";
import { takeSlot } from "./slots.js";
import type { HeadersSource } from "./types.js";

/** Send a request with the client's headers, and with the watcher's headers over them. */
export type Send = (
  address: string,
  init: RequestInit,
  headers: HeadersSource | undefined,
) => Promise<Response>;

/** A reader's request. */
export interface Question {
  readonly address: string;
  readonly offset: string | null;
  /** True for a snapshot. Otherwise events, or a snapshot if no connection for events is free. */
  readonly json: boolean;
  readonly headers: HeadersSource | undefined;
  /** Aborted when the reader no longer needs the answer. */
  readonly signal: AbortSignal;
}

/**
 * Sends the requests of a client's readers. If several readers of a page follow live streams below
 * one address, they share one connection.
 */
export class Lines {
  /** By mount: functions that end the wait of each reader below that mount. */
  readonly #readers = new Map<string, Set<() => void>>();
  /** By mount and headers. */
  readonly #links = new Map<string, Link[]>();

  constructor(readonly send: Send) {}

  /** Add a reader until `signal` aborts; `hurry` ends its current wait. */
  enter(address: string, hurry: () => void, signal: AbortSignal): void {
    const [mount] = split(address);
    const readers = this.#readers.get(mount) ?? new Set();
    this.#readers.set(mount, readers.add(hurry));
    signal.addEventListener("abort", () => readers.delete(hurry) && this.#tidy(mount));
  }

  #tidy(mount: string): void {
    if (this.#readers.get(mount)?.size) return;
    this.#readers.delete(mount);
    for (const key of this.#links.keys()) {
      if (JSON.parse(key)[0] === mount) this.#links.delete(key);
    }
  }

  /** End the waits of a mount's readers together, so that they share one request. */
  gather(mount: string): void {
    for (const hurry of this.#readers.get(mount) ?? []) hurry();
  }

  /** Request one stream, alone or together with others. */
  async ask(question: Question): Promise<Response> {
    const { headers, signal } = question;
    const [mount, id] = split(question.address);
    if (!globalThis.document || id === undefined) return this.direct(question);
    await undefined; // components that mount together share one request
    signal.throwIfAborted();
    if ((this.#readers.get(mount)?.size ?? 0) < 2) return this.direct(question);
    const given = new Headers(typeof headers === "function" ? await headers() : headers);
    const module = await import("./link.js").catch(() => undefined);
    signal.throwIfAborted();
    if (!module) return this.direct(question);
    const key = JSON.stringify([mount, ...given]);
    const links = this.#links.get(key) ?? [];
    this.#links.set(key, links);
    let link = links.find((it) => it.hasRoom);
    if (!link) links.push((link = new module.Link(mount, given, this)));
    return link.ask(id, { ...question, headers: given });
  }

  /** Request one stream in a request of its own. */
  direct(question: Question): Promise<Response> {
    return this.#send(question, {});
  }

  /** Start a stream with a POST to the question's address, and follow the stream. */
  drive(question: Question, body: unknown): Promise<Response> {
    const headers = { "content-type": "application/json" };
    return this.#send(question, { method: "POST", headers, body: JSON.stringify(body) });
  }

  async #send({ address, offset, json, headers, signal }: Question, init: RequestInit) {
    const polls = json || !(await takeSlot(address, signal));
    signal.throwIfAborted();
    const query = { ...(polls && { format: "json" }), ...(offset !== null && { offset }) };
    const accept = polls ? "application/json" : "text/event-stream";
    const all: RequestInit = { ...init, signal, cache: "no-store" };
    all.headers = { accept, ...(init.headers as Record<string, string>) };
    return this.send(withQuery(address, query), all, headers);
  }
}

/** Return the address above a stream's address, with the query, and the stream's id. */
function split(address: string): [mount: string, id: string | undefined] {
  const [, mount = "", id, query = ""] = /^([^?#]*)\/([^/?#]+)(\?[^#]*)?/.exec(address) ?? [];
  return [mount + query, id && decodeURIComponent(id)];
}
