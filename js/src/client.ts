import { pageStops, type StopStorage } from "./kept.js";
import { Lines } from "./lines.js";
import type { Send } from "./question.js";
import type { Reader } from "./reader.js";
import { Stops } from "./stop.js";
import { Stream, type StreamOptions } from "./stream.js";
import type { HeadersSource } from "./types.js";

/** Options for all streams of a client. */
export interface ClientOptions {
  /**
   * Headers for every request. A function is called before each request, and may renew a token.
   */
  headers?: HeadersSource;
  /** As in `fetch`: `same-origin` by default; `include` also sends cookies to another origin. */
  credentials?: RequestCredentials;
  /** A function that is used instead of the global `fetch`. */
  fetch?: (address: string, init: RequestInit) => Promise<Response>;
  /** Where each stop is stored until the server confirms it; `localStorage` by default. */
  stops?: StopStorage;
}

/** A client follows streams. All watchers of one stream share one connection. */
export interface Client {
  /**
   * Return the stream at `address`. The server must answer requests to this address as docs/http.md
   * says for `GET /{id}`.
   *
   * This call makes no request. The first `subscribe` or `for await` makes the first request.
   */
  stream(address: string | URL, options?: StreamOptions): Stream;
}

/** Create a client. Most pages need only one client. */
export function createClient(options: ClientOptions = {}): Client {
  const readers = new Map<string, Reader>();
  const send: Send = async (address, init, more) => {
    const headers = new Headers(init.headers);
    for (const source of [options.headers, more]) {
      const extra = typeof source === "function" ? await source() : source;
      new Headers(extra).forEach((value, name) => headers.set(name, value));
    }
    const request = options.fetch ?? fetch;
    return request(address, {
      credentials: options.credentials ?? "same-origin",
      ...init,
      headers,
    });
  };
  const lines = new Lines(send, !!options.fetch);
  const stops = new Stops(options.stops ?? pageStops());
  return { stream: (address, how = {}) => new Stream(String(address), how, readers, lines, stops) };
}
