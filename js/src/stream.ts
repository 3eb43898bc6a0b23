import { absolute, below } from "./address.js";
import { Display, firstSnapshot } from "./display.js";
import type { Lines } from "./lines.js";
import { Reader } from "./reader.js";
import type { Stops } from "./stop.js";
import {
  type HeadersSource,
  type Initial,
  InkstreamError,
  isEnded,
  type Part,
  type Snapshot,
} from "./types.js";

/** With `keepalive`, a stop arrives even if the user leaves the page directly after the press. */
const STOP: RequestInit = { method: "POST", keepalive: true };

/** Options of one stream. If several watchers set an option, the latest value is used. */
export interface StreamOptions {
  /** Headers for every request of this stream. They replace client headers of the same name. */
  headers?: HeadersSource | undefined;
  /**
   * The first request is a POST to this address, which starts the stream. The response follows the
   * stream. The client may repeat the POST, so the server must only follow a stream that has
   * already started, as `streams.stream` of the Python package does.
   */
  drive?: string | URL | undefined;
  /** The body of the POST to `drive`, which is sent as JSON. */
  driveBody?: unknown;
  /** Where `stop` sends its POST; `{address}/cancel` by default. */
  stopUrl?: string | URL | undefined;
  /**
   * If true, follow the stream also while the page is hidden, which uses one of the six HTTP/1.1
   * connections of a browser. Otherwise the client fetches the missing text when the page is
   * visible again.
   */
  background?: boolean | undefined;
  /** The text or status that the page already has. Ignored if the client follows this stream. */
  initial?: Initial | undefined;
}

/**
 * A stream with its watchers: an observable store (`subscribe`, `getSnapshot`) and an async
 * iterable. The methods need no `this`.
 */
export class Stream implements AsyncIterable<Part> {
  readonly #first: Snapshot;
  readonly #leaves = new Set<() => void>();
  #reader: Reader | undefined;

  /** Created by `Client.stream`. */
  constructor(
    readonly address: string,
    private readonly options: StreamOptions,
    private readonly readers: Map<string, Reader>,
    private readonly lines: Lines,
    private readonly stops: Stops,
  ) {
    this.#first = firstSnapshot(options.initial);
  }

  /**
   * Watch the stream. `listener` is called after the snapshot has changed: for new text at most
   * once a frame, and for the stream's end immediately. Returns a function that stops watching, and
   * does not stop the answer.
   */
  readonly subscribe = (listener: () => void): (() => void) => {
    const { background, drive, driveBody, headers } = this.options;
    const { address, readers } = this;
    const reader =
      readers.get(address) ??
      this.#reader ??
      new Reader(address, this.lines, new Display(this.#first));
    readers.set(address, reader);
    this.#reader = reader;
    const access = { headers, drive: drive && String(drive), driveBody, background };
    const unwatch = reader.watch(listener, access, () => {
      if (readers.get(address) === reader) readers.delete(address);
    });
    const leave = () => {
      this.#leaves.delete(leave);
      unwatch();
    };
    this.#leaves.add(leave);
    this.#bringStops();
    return leave;
  };

  /** Return the current snapshot, which is the same object until something changes. */
  readonly getSnapshot = (): Snapshot =>
    (this.#reader ?? this.readers.get(this.address))?.display.snapshot ?? this.#first;

  /** Return the snapshot before the first request, as a server renders it. */
  readonly getServerSnapshot = (): Snapshot => this.#first;

  /**
   * Ask the server to end the answer for all readers. The promise resolves when the server has
   * confirmed, or when the stream has ended. The stop itself does not change the status, but the
   * stream's end does.
   *
   * Without a network, the client stores the stop, and sends it when the network is back, also
   * after a reload. The snapshot's `stopping` is true until the stream's end arrives, or until the
   * server refuses.
   *
   * @throws InkstreamError if the server refuses.
   */
  readonly stop = async (): Promise<void> => {
    const isOver = () => {
      const { status, error } = this.getSnapshot();
      return (isEnded(status) && error?.http === undefined) || !this.stops.has(this.#stopAddress);
    };
    const display = this.#reader?.display;
    display?.show({ stopping: !isEnded(display.facts.status) }, true);
    try {
      await this.#deliver(this.#stopAddress, isOver);
      this.#reader?.refresh();
    } catch (error) {
      display?.show({ stopping: false }, true);
      throw error;
    }
  };

  get #stopAddress(): string {
    return absolute(this.options.stopUrl ?? below(this.address, "cancel"));
  }

  #deliver(address: string, isOver: () => boolean): Promise<void> {
    return this.stops.deliver(
      address,
      () => this.lines.send(address, STOP, this.options.headers),
      isOver,
    );
  }

  /** Deliver stops that an earlier page could not deliver, for all streams of the same mount. */
  #bringStops(): void {
    const mount = absolute(this.address).replace(/[^/]*(?:\?.*)?$/, "");
    const mine = this.#stopAddress;
    for (const name of new Set([...this.stops.left(mount), ...this.stops.left(mine)])) {
      const brought =
        name === mine ? this.stop() : this.#deliver(name, () => !this.stops.has(name));
      // A refusal needs no report, because the user pressed Stop on an earlier page.
      brought.catch(() => {});
    }
  }

  /**
   * Make a request now: after a request that failed (`error.http`), or instead of waiting for the
   * next try. If the server asked for the wait, the wait continues. After the stream's end, `retry`
   * does nothing.
   */
  readonly retry = (): void => this.#reader?.retry();

  /**
   * Stop watching: remove all watchers of this object, and end its `for await` loops with an
   * `InkstreamError` of code `disconnected`.
   */
  readonly disconnect = (): void => {
    for (const leave of [...this.#leaves]) leave();
  };

  /**
   * Yield text and structured parts as they arrive, from the stream's first part. If the loop is
   * slow, the pieces of text are larger, and no queue grows. The loop ends without an error only if
   * the stream ended `done`.
   *
   * @throws InkstreamError if the stream ended with another status than `done`, if the stored text
   * changed (`offset_gone`), or after `disconnect` (`disconnected`).
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Part, void, undefined> {
    let wake = () => {};
    const unsubscribe = this.subscribe(() => wake());
    const leave = () => {
      this.#leaves.delete(leave);
      unsubscribe();
      wake();
    };
    this.#leaves.add(leave);
    const { display } = this.#reader as Reader;
    const { transcript } = display;
    const cursor = { index: 0, taken: 0 };
    try {
      for (;;) {
        const changed = new Promise<void>((resolve) => (wake = resolve));
        const { status, error } = display.snapshot;
        if (display.transcript !== transcript) {
          throw new InkstreamError({ code: "offset_gone", message: null });
        }
        if (!this.#leaves.has(leave)) {
          throw new InkstreamError({ code: "disconnected", message: null });
        }
        yield* transcript.after(cursor);
        if (status === "done") return;
        if (isEnded(status)) throw new InkstreamError(error ?? { code: status, message: null });
        await changed;
      }
    } finally {
      leave();
    }
  }
}
