import { below, withQuery } from "./address.js";
import type { Link } from "./link.js";
import type { Answer, Others, Question, Send } from "./question.js";
import { takeSlot } from "./slots.js";

/**
 * How long readers that begin together wait for the first reader's response. A header of this
 * response may offer a shared connection.
 */
const OFFER_MS = 400;

/** The readers of all streams whose addresses differ only in the last segment. */
class Mount {
  /** For each reader, a function that makes a waiting reader send its next request now. */
  readonly readers = new Set<() => void>();
  /** For each reader with a connection of its own, a function that makes the reader ask again. */
  readonly alone = new Set<() => void>();
  /** The links, by the headers of their readers. */
  readonly links = new Map<string, Link[]>();
  /**
   * The latest request for one stream alone. The headers of its response say whether streams can
   * share a connection.
   */
  scout: Promise<unknown> | undefined;
}

/**
 * Sends the requests of a client's readers. Several readers of a page that follow live streams
 * below one address share one connection, if the server offers this.
 */
export class Lines implements Others {
  readonly #mounts = new Map<string, Mount>();
  readonly offers = new Map<string, string>();

  /** `streams` is true if the application gave a `fetch`, which is assumed to stream responses. */
  constructor(
    readonly send: Send,
    private readonly streams: boolean,
  ) {}

  #mount(name: string): Mount {
    const known = this.#mounts.get(name);
    if (known) return known;
    const mount = new Mount();
    this.#mounts.set(name, mount);
    return mount;
  }

  /** Add a reader until `signal` aborts. `hurry` makes a waiting reader send its request now. */
  enter(address: string, hurry: () => void, signal: AbortSignal): void {
    const [name] = split(address);
    const { readers } = this.#mount(name);
    readers.add(hurry);
    signal.addEventListener("abort", () => {
      if (readers.delete(hurry) && !readers.size) this.#mounts.delete(name);
    });
  }

  gather(name: string): void {
    const { readers, alone } = this.#mount(name);
    for (const ask of [...readers, ...alone]) ask();
  }

  /** Request one stream, alone or together with other streams. */
  async ask(question: Question): Promise<Answer> {
    const { headers, signal } = question;
    const [name, id] = split(question.address);
    if (!globalThis.document || id === undefined) return this.direct(question);
    await undefined; // so that components that appear together share one request
    signal.throwIfAborted();
    const mount = this.#mount(name);
    if (mount.readers.size > 1 && !this.offers.has(name) && mount.scout) {
      await within(OFFER_MS, mount.scout);
      signal.throwIfAborted();
    }
    if (mount.readers.size < 2 || !this.offers.get(name)) return this.direct(question);
    const given = new Headers(typeof headers === "function" ? await headers() : headers);
    const module = await import("./link.js").catch(() => undefined);
    signal.throwIfAborted();
    if (!module) return this.direct(question);
    const key = JSON.stringify([...given]);
    const links = mount.links.get(key) ?? [];
    mount.links.set(key, links);
    let link = links.find((it) => it.hasRoom);
    if (!link) links.push((link = new module.Link(name, given, this)));
    return link.ask(id, { ...question, headers: given });
  }

  async direct(question: Question): Promise<Response> {
    const { address, again, json, signal } = question;
    const [name] = split(address);
    const mount = this.#mount(name);
    const answer = this.#send(question, {});
    mount.scout = answer.catch(() => {});
    if (!json) {
      mount.alone.add(again);
      signal.addEventListener("abort", () => mount.alone.delete(again));
    }
    const response = await answer;
    const offer = response.headers.get("stream-follow");
    // Record only the first offer. Otherwise a server that refuses the requests that it offers
    // would get such requests for ever. A failure without an offer says nothing, because a proxy
    // may have sent it.
    if (!this.offers.has(name) && (offer || response.ok)) {
      this.offers.set(name, offer ? below(name, offer) : "");
      if (offer && mount.readers.size > 1) this.gather(name);
    }
    return response;
  }

  /** Send a POST, which starts a stream. The response to the POST follows the stream. */
  drive(question: Question, body: unknown): Promise<Response> {
    const headers = { "content-type": "application/json" };
    return this.#send(question, { method: "POST", headers, body: JSON.stringify(body) });
  }

  async #send({ address, offset, json, headers, signal }: Question, init: RequestInit) {
    // React Native's own `fetch` returns only complete responses, which have no `body`.
    const isMute = !this.streams && !("body" in Response.prototype);
    const polls = json || isMute || !(await takeSlot(address, signal));
    signal.throwIfAborted();
    const query = { ...(polls && { format: "json" }), ...(offset !== null && { offset }) };
    const accept = polls ? "application/json" : "text/event-stream";
    const all: RequestInit = { ...init, signal, cache: "no-store" };
    all.headers = { accept, ...(init.headers as Record<string, string>) };
    return this.send(withQuery(address, query), all, headers);
  }
}

/** Split a stream's address into the mount's address, with the query, and the stream's id. */
function split(address: string): [mount: string, id: string | undefined] {
  const [, mount = "", id, query = ""] = /^([^?#]*)\/([^/?#]+)(\?[^#]*)?/.exec(address) ?? [];
  return [mount + query, id && decodeURIComponent(id)];
}

function within(ms: number, promise: Promise<unknown>): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    void promise.finally(() => (clearTimeout(timer), resolve()));
  });
}
