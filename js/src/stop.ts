import { BASE_MS, backoffMs, isPassing, retryAfterMs } from "./backoff.js";
import type { StopStorage } from "./kept.js";
import { onPageChange } from "./page.js";
import { readProblem } from "./problem.js";
import { InkstreamError } from "./types.js";

/** One stop to deliver. `storage` keeps the stop until the server has confirmed it. */
export interface Stopping {
  readonly name: string;
  readonly storage: StopStorage;
  readonly post: () => Promise<Response>;
  /** Return whether the stop is no longer needed, for example because the stream has ended. */
  readonly isOver: () => boolean;
}

/**
 * Ask the server to end a stream, again and again until the server confirms, or until `isOver`
 * returns true.
 *
 * A user presses Stop only once, and the answer must stop even after an outage. If the page is
 * closed before the server has confirmed, the stop stays in `storage`.
 *
 * @throws InkstreamError if the server refuses.
 */
export async function deliverStop({ name, storage, post, isOver }: Stopping): Promise<void> {
  storage.keep(name);
  const awake = new AbortController();
  let wake = () => {};
  onPageChange((change) => change !== "hidden" && wake(), awake.signal);
  try {
    for (let tries = 0; !isOver(); tries++) {
      const response = await post().catch(() => undefined);
      if (response?.ok) break;
      if (response && !isPassing(response.status)) {
        storage.drop(name);
        throw new InkstreamError(await readProblem(response));
      }
      const askedMs = response ? retryAfterMs(response) : 0;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, askedMs + backoffMs(tries, BASE_MS));
        if (!askedMs) wake = () => (clearTimeout(timer), resolve());
      });
    }
    storage.drop(name);
  } finally {
    awake.abort();
  }
}

export class Stops {
  /** The stops that are being delivered, by name. A second press of Stop waits for the first. */
  readonly #onTheirWay = new Map<string, Promise<void>>();

  constructor(private readonly storage: StopStorage) {}

  deliver(name: string, post: () => Promise<Response>, isOver: () => boolean): Promise<void> {
    const known = this.#onTheirWay.get(name);
    if (known) return known;
    const { storage } = this;
    const way = deliverStop({ name, storage, post, isOver }).finally(() =>
      this.#onTheirWay.delete(name),
    );
    this.#onTheirWay.set(name, way);
    return way;
  }

  /** Return the stored stops whose names begin with `below`, such as stops of an earlier page. */
  left(below: string): string[] {
    return this.storage.all().filter((name) => name.startsWith(below));
  }

  /** Return whether a stop is still stored: false after another window has delivered the stop. */
  has(name: string): boolean {
    return this.storage.all().includes(name);
  }
}
