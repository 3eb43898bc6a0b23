import type { Batches } from "./events.js";
import type { HeadersSource } from "./types.js";

/** A reader gets a response, or the events of one stream from a shared connection. */
export type Answer = Response | Batches;

/** A reader's request. */
export interface Question {
  readonly address: string;
  readonly offset: string | null;
  /** True requests a snapshot. False requests events, or a snapshot if no connection is free. */
  readonly json: boolean;
  readonly headers: HeadersSource | undefined;
  /** Aborted when the reader no longer needs the response. */
  readonly signal: AbortSignal;
  /** Abandon this question, and make the request again. */
  readonly again: () => void;
}

/** Sends a request with the client's headers. `headers` replace headers of the same name. */
export type Send = (
  address: string,
  init: RequestInit,
  headers: HeadersSource | undefined,
) => Promise<Response>;

/** What a shared connection needs of the client's other requests. */
export interface Others {
  /**
   * For each mount, the address for requests of many streams; empty if the server offers none. An
   * entry stays after the readers of the mount have left.
   */
  readonly offers: Map<string, string>;
  readonly send: Send;
  /** Send a request for one stream alone. */
  direct(question: Question): Promise<Response>;
  /** Make all readers of a mount ask again, so that the readers share one request. */
  gather(mount: string): void;
}
