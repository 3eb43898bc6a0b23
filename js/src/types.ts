import type { DataTypes, Part } from "./vocabulary.js";

export type { Part };

/** The status of a stream. The last four are final. */
export type Status = "pending" | "streaming" | "open" | "done" | "error" | "cancelled" | "timeout";

/** The reason why a page gets no text, or no more text. */
export interface StreamError {
  /** A stable word for programs: the code of the stream, or of the server for an HTTP failure. */
  readonly code: string | null;
  /** A sentence that a page may show to the user. */
  readonly message: string | null;
  /** The HTTP status if a *request* failed. The stream itself may continue. */
  readonly http?: number;
}

/** The state of a stream at one moment. It stays the same object until something changes. */
export interface Snapshot<Data extends DataTypes = DataTypes> {
  readonly status: Status;
  /** The pieces of text, joined: a prefix of the stored text, or the whole stored text. */
  readonly text: string;
  /** Text and structured parts in order. Adjacent text and adjacent deltas of one id are joined. */
  readonly parts: readonly Part<Data>[];
  /** Set if the status is `error` or `timeout`; otherwise null. */
  readonly error: StreamError | null;
  /** The application's own value that came with the end (usage, finish reason). */
  readonly result: unknown;
  /** The offset after this text, an opaque string. Any device can continue from this offset. */
  readonly offset: string | null;
  /** `polling`: the client fetches snapshots, for example because events come too late. */
  readonly transport: "events" | "polling";
  /**
   * `waiting`: the connection was lost, and the client will try again. `closed`: there is no
   * connection, because the stream ended, the request failed, nobody watches the stream, or the
   * page is hidden.
   */
  readonly connection: "connecting" | "open" | "waiting" | "closed";
  /** True after a Stop until the stream's end arrives, or until the server refuses the Stop. */
  readonly stopping: boolean;
  /**
   * How often the text was discarded and read again from its beginning, because the stored text
   * changed: a database was restored, or the stream was deleted and created again.
   */
  readonly resets: number;
}

/** The state of a stream that the page already has, from a server-rendered page or a list. */
export interface Initial {
  /**
   * The offset after the text. The client fetches only later messages. `stream` throws a
   * `TypeError` for text or parts without an offset, unless `status` is final.
   */
  readonly offset?: string | null;
  readonly parts?: readonly Part[];
  /** The same as `parts: [text]`. */
  readonly text?: string;
  /** If this status is final, the client makes no request for the stream. */
  readonly status?: Status;
  readonly error?: StreamError | null;
  readonly result?: unknown;
}

/** Headers for every request, or a function that is called before every request. */
export type HeadersSource = HeadersInit | (() => HeadersInit | Promise<HeadersInit>);

/**
 * The exception for a failed request, for a stream whose final status is not `done`, and for a loop
 * that ended because of `disconnect` or because the stored text changed.
 */
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
 * Return whether a status is final: `done`, `error`, `cancelled` or `timeout`.
 *
 * If a snapshot's `error` has `http`, only the request failed. The snapshot's status is final in
 * this case too, because the client makes no further request until `retry` is called.
 */
export function isEnded(status: Status): boolean {
  return status !== "pending" && status !== "streaming" && status !== "open";
}
