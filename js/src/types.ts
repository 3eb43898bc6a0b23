/** The values that every part of the client passes around. */
import type { DataTypes, Part } from "./vocabulary.js";

export type { Part };

/** Where a stream is in its life; the last four are ends. */
export type Status = "pending" | "streaming" | "open" | "done" | "error" | "cancelled" | "timeout";

/** Why there is no (more) text. */
export interface StreamError {
  /** A stable word for programs: the stream's own, or the server's for an HTTP failure. */
  readonly code: string | null;
  /** A sentence that may be shown to the reader. */
  readonly message: string | null;
  /** The HTTP status, if the *request* failed. The stream itself may be going on. */
  readonly http?: number;
}

/** What is known of a stream at one moment. The same object until something changes. */
export interface Snapshot<Data extends DataTypes = DataTypes> {
  readonly status: Status;
  /** The pieces of text joined: a prefix of the stored text, or all of it. */
  readonly text: string;
  /** Text and structured parts in order; adjacent text, and adjacent deltas of one part, joined. */
  readonly parts: readonly Part<Data>[];
  /** Set if the status is `error` or `timeout`. */
  readonly error: StreamError | null;
  /** The application's own value that came with the end (usage, finish reason). */
  readonly result: unknown;
  /** Where to go on after this text, on any device; opaque. */
  readonly offset: string | null;
  /** `polling`: something between here and the server holds events back, so they are fetched. */
  readonly transport: "events" | "polling";
  /**
   * `waiting`: the connection was lost and is tried again by itself. `closed`: there is none, and
   * none is wanted: the stream ended, the request failed, or nobody can see the page.
   */
  readonly connection: "connecting" | "open" | "waiting" | "closed";
  /** Stop was pressed, and the end is not here yet; it is delivered as soon as the network allows. */
  readonly stopping: boolean;
  /**
   * How often the text was dropped and read again from its beginning, because the stored text had
   * become another: a database was restored, or the stream was deleted and made again.
   */
  readonly resets: number;
}

/** What the page already has of a stream: from a server-rendered page, or a list of messages. */
export interface Initial {
  /** The offset that came with the text; only what follows it is fetched. */
  readonly offset?: string | null;
  readonly parts?: readonly Part[];
  /** The same as `parts: [text]`. */
  readonly text?: string;
  /** An ended status means that there is nothing to fetch at all. */
  readonly status?: Status;
  readonly error?: StreamError | null;
  readonly result?: unknown;
}

/** Headers for every request, or a function that is asked before every request. */
export type HeadersSource = HeadersInit | (() => HeadersInit | Promise<HeadersInit>);

/** A failed request, or a stream that did not end `done`, as an exception. */
export class InkstreamError extends Error {
  readonly code: string | null;
  readonly http: number | undefined;

  constructor(error: StreamError) {
    super(error.message ?? error.code ?? "stream failed");
    this.name = "InkstreamError";
    this.code = error.code;
    this.http = error.http;
  }
}

/**
 * Tell whether a status is an end: `done`, `error`, `cancelled` or `timeout`.
 *
 * A snapshot whose `error` has `http` is one too, though only its request has failed: nothing more
 * comes by itself.
 */
export function isEnded(status: Status): boolean {
  return status !== "pending" && status !== "streaming" && status !== "open";
}
