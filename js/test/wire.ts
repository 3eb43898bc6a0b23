/** A `fetch` whose responses the test sends, byte by byte, in virtual time. */
import { setMaxListeners } from "node:events";
import { vi } from "vitest";

/** The terminal event of a stream. */
export interface Ending {
  status: string;
  code?: string | null;
  message?: string | null;
  result?: unknown;
}

export function offset(position: number, internalId = 7): string {
  return [internalId, position].map((number) => String(number).padStart(16, "0")).join("_");
}

export function frame(position: number, part: unknown, internalId = 7): string {
  return `id: ${offset(position, internalId)}\ndata: ${JSON.stringify(part)}\n\n`;
}

export function endFrame(position: number, ending: Ending = { status: "done" }, id = 7): string {
  const end = { code: null, message: null, result: null, ...ending };
  return `event: end\nid: ${offset(position, id)}.end\ndata: ${JSON.stringify(end)}\n\n`;
}

/** A request that has arrived and that waits for the test's response. */
export class Exchange {
  readonly url: URL;
  readonly method: string;
  readonly headers: Headers;
  #body!: ReadableStreamDefaultController<Uint8Array>;
  #answered = false;

  constructor(
    address: string,
    readonly init: RequestInit,
    private readonly resolve: (response: Response) => void,
    private readonly reject: (error: unknown) => void,
  ) {
    this.url = new URL(address, "http://test.invalid");
    this.method = init.method ?? "GET";
    this.headers = new Headers(init.headers);
    init.signal?.addEventListener("abort", () => this.fail(init.signal?.reason));
  }

  get path(): string {
    return this.url.pathname;
  }

  get from(): string | null {
    return this.url.searchParams.get("offset");
  }

  get givenUp(): boolean {
    return this.init.signal?.aborted ?? false;
  }

  /** Whether the request was aborted or failed, or `json` or `refuse` has answered the request. */
  get isOver(): boolean {
    return this.givenUp || this.#answered;
  }

  /** Respond with headers only. `send` sends the bytes of the body. */
  open(headers: Record<string, string> = {}, status = 200): this {
    const body = new ReadableStream<Uint8Array>({ start: (it) => void (this.#body = it) });
    const all = { "content-type": "text/event-stream", ...headers };
    this.resolve(new Response(body, { status, headers: all }));
    return this;
  }

  send(bytes: string | Uint8Array): this {
    this.#body.enqueue(typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes);
    return this;
  }

  /** Respond with an event stream that stays open, and that begins with a ping and `parts`. */
  stream(...parts: unknown[]): this {
    this.open().send(": ping\n\n");
    parts.forEach((part, index) => this.send(frame(index + 1, part)));
    return this;
  }

  close(): void {
    this.#body.close();
  }

  fail(error: unknown = new TypeError("network error")): void {
    this.#answered = true;
    this.reject(error);
    try {
      this.#body?.error(error);
    } catch {
      // the connection is closed already
    }
  }

  json(body: unknown, status = 200, headers: Record<string, string> = {}): void {
    this.#answered = true;
    this.open({ "content-type": "application/json", ...headers }, status);
    this.send(JSON.stringify(body)).close();
  }

  /** Respond with this status. The body is a problem document with `code`, or is empty. */
  refuse(status: number, code?: string, headers: Record<string, string> = {}): void {
    this.#answered = true;
    if (code) this.json({ code, detail: `about ${code}` }, status, headers);
    else this.resolve(new Response(status === 204 ? null : "", { status, headers }));
  }
}

export class Wire {
  readonly all: Exchange[] = [];

  readonly fetch = (address: string, init: RequestInit): Promise<Response> =>
    new Promise((resolve, reject) => {
      this.all.push(new Exchange(address, init, resolve, reject));
    });

  get last(): Exchange {
    const last = this.all.at(-1);
    if (!last) throw new Error("nothing was asked");
    return last;
  }

  get count(): number {
    return this.all.length;
  }
}

/** Use virtual time. Each random wait has its largest value, so that waits are exact. */
export function virtualTime(): void {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date", "performance"] });
  vi.spyOn(Math, "random").mockReturnValue(1);
}

/** Advance the virtual time by `ms` milliseconds, and run everything that is due by then. */
export async function pass(ms = 0): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
}

/** A page that can be hidden and shown, for tests without a browser. */
export function fakePage(): {
  online(): void;
  pageshow(persisted: boolean): void;
  visible(state: "visible" | "hidden"): void;
} {
  const page = new EventTarget();
  setMaxListeners(200, page);
  const doc = Object.assign(new EventTarget(), { visibilityState: "visible" });
  setMaxListeners(200, doc);
  vi.stubGlobal("window", page);
  vi.stubGlobal("document", doc);
  return {
    online: () => void page.dispatchEvent(new Event("online")),
    pageshow: (persisted) =>
      void page.dispatchEvent(Object.assign(new Event("pageshow"), { persisted })),
    visible: (state) => {
      doc.visibilityState = state;
      doc.dispatchEvent(new Event("visibilitychange"));
    },
  };
}
