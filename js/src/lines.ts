import { withQuery } from "./address.js";
import type { Link } from "./link.js";
import { takeSlot } from "./slots.js";
import type { HeadersSource } from "./types.js";

/** Send a request with the client's own headers, and a watcher's on top. */
export type Send = (
  address: string,
  init: RequestInit,
  headers: HeadersSource | undefined,
) => Promise<Response>;

/** What a reader asks for. */
export interface Question {
  readonly address: string;
  readonly offset: string | null;
  /** A snapshot; else events, or a snapshot when no connection is to be had for events. */
  readonly json: boolean;
  readonly headers: HeadersSource | undefined;
  /** Aborted when the reader is done with the answer, whatever became of it. */
  readonly signal: AbortSignal;
}

/**
 * How the readers of a client reach the server: one by one, or together over one connection where
 * several of a page follow live streams of one address.
 */
export class Lines {
  /** By mount: how to hurry the readers that follow a stream there. */
  readonly #readers = new Map<string, Set<() => void>>();
  /** By mount and headers. */
  readonly #links = new Map<string, Link[]>();

  constructor(readonly send: Send) {}

  /** Count a reader in until `signal` aborts; `hurry` ends a wait of its own. */
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

  /** Have those who wait at a mount ask now: one request for all, and not one for each. */
  gather(mount: string): void {
    for (const hurry of this.#readers.get(mount) ?? []) hurry();
  }

  /** Ask for one stream. */
  async ask(question: Question): Promise<Response> {
    const { headers, signal } = question;
    const [mount, id] = split(question.address);
    if (!globalThis.document || id === undefined) return this.direct(question);
    await undefined; // what is mounted in one go asks in one go
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

  /** Ask for one stream by a request of its own. */
  direct(question: Question): Promise<Response> {
    return this.#send(question, {});
  }

  /** Start a stream at the question's address, and follow it. */
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

/** Return the address above a stream's, with the query, and the stream's id. */
function split(address: string): [mount: string, id: string | undefined] {
  const [, mount = "", id, query = ""] = /^([^?#]*)\/([^/?#]+)(\?[^#]*)?/.exec(address) ?? [];
  return [mount + query, id && decodeURIComponent(id)];
}
