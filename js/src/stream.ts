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

/** keepalive: a stop that is followed by leaving the page still arrives. */
const STOP: RequestInit = { method: "POST", keepalive: true };

/** How one stream is asked for. Of several watchers of it, the latest that says a thing wins. */
export interface StreamOptions {
  /** Sent with every request of this stream, over the client's. */
  headers?: HeadersSource | undefined;
  /**
   * POST here first, which starts the stream if nobody has, and is answered by it. Safe to repeat:
   * a second start only follows.
   */
  drive?: string | URL | undefined;
  /** Sent as JSON with that POST. */
  driveBody?: unknown;
  /** Where `stop` POSTs to; `{address}/cancel` by default. */
  stopUrl?: string | URL | undefined;
  /**
   * Follow also while the page is hidden, keeping one of the six connections that a browser opens
   * over HTTP/1.1. Otherwise the text is caught up with when the page is seen again.
   */
  background?: boolean | undefined;
  /** What the page has already, if nothing else on it follows this stream yet. */
  initial?: Initial | undefined;
}

/**
 * A stream as somebody watches it: an observable store (`subscribe`, `getSnapshot`) and an async
 * iterable. Its methods need no `this`.
 */
export class Stream implements AsyncIterable<Part> {
  readonly #first: Snapshot;
  readonly #leaves = new Set<() => void>();
  #reader: Reader | undefined;

  /** Made by `Client.stream`. */
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
   * Watch: `listener` is called after every change of the snapshot, at most once a frame.
   * Returns how to stop watching, which does not stop the answer.
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

  /** Return what is known now; the same object until something changes. */
  readonly getSnapshot = (): Snapshot =>
    (this.#reader ?? this.readers.get(this.address))?.display.snapshot ?? this.#first;

  /** Return what is known before anything was fetched, as a server renders it. */
  readonly getServerSnapshot = (): Snapshot => this.#first;

  /**
   * Ask the server to end the answer, for everybody. Resolves when it has agreed; the status
   * `cancelled` comes as the stream's own end.
   *
   * Without a network the stop is kept, also over a reload, and sent when there is one again; the
   * snapshot says `stopping` until the end is here.
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

  /** Bring the stops along that an earlier page of this address could not deliver. */
  #bringStops(): void {
    const mount = absolute(this.address).replace(/[^/]*(?:\?.*)?$/, "");
    const mine = this.#stopAddress;
    for (const name of new Set([...this.stops.left(mount), ...this.stops.left(mine)])) {
      const brought =
        name === mine ? this.stop() : this.#deliver(name, () => !this.stops.has(name));
      brought.catch(() => {}); // refused: the press was an earlier page's
    }
  }

  /**
   * Ask again now: after a request that failed (`error.http`), or instead of waiting for the next
   * try. A wait that the server asked for is kept, and a stream that has ended stays so.
   */
  readonly retry = (): void => this.#reader?.retry();

  /** Stop watching: unsubscribe everything that watches through this object, ending its loops. */
  readonly disconnect = (): void => {
    for (const leave of [...this.#leaves]) leave();
  };

  /**
   * Yield text and structured parts as they come, from the first one; a slow loop gets larger
   * pieces of text, not a queue. Ends with the stream, or with `disconnect`.
   *
   * @throws InkstreamError if the stream ended other than `done`, or its text turned out to be of
   *   a stream that is gone (`offset_gone`).
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
      while (this.#leaves.has(leave)) {
        const changed = new Promise<void>((resolve) => (wake = resolve));
        const { status, error } = display.snapshot;
        if (display.transcript !== transcript) {
          throw new InkstreamError({ code: "offset_gone", message: null });
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
