import { Transcript } from "./transcript.js";
import { type Initial, isEnded, type Snapshot } from "./types.js";

const FRAME_MS = 16;

export type Facts = {
  -readonly [key in Exclude<keyof Snapshot, "text" | "parts" | "offset">]: Snapshot[key];
};

export function firstSnapshot(initial: Initial = {}): Snapshot {
  const parts = initial.parts ?? (initial.text ? [initial.text] : []);
  const { status = parts.length ? "streaming" : "pending" } = initial;
  const { text, offset } = new Transcript(initial.offset, parts);
  // Without an offset, the reader would fetch the same text again, and the page would show the
  // text twice.
  if (parts.length && offset === null && !isEnded(status)) {
    throw new TypeError("initial: text needs an offset");
  }
  return {
    status,
    text,
    parts,
    error: initial.error ?? null,
    result: initial.result ?? null,
    offset,
    transport: "events",
    connection: isEnded(status) ? "closed" : "connecting",
    stopping: false,
    resets: 0,
  };
}

export class Display {
  readonly watchers = new Set<() => void>();
  readonly facts: Facts;
  transcript: Transcript;
  #shownVersion = 0;
  #shownAt = -Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(public snapshot: Snapshot) {
    this.facts = { ...snapshot };
    this.transcript = new Transcript(snapshot.offset, snapshot.parts);
  }

  /** Discard the text, because the stored text changed. */
  clear(): void {
    this.transcript = new Transcript();
    this.#shownVersion = -1;
    this.facts.resets++;
  }

  /**
   * Change facts, and publish a snapshot: immediately if `now`, and otherwise at most once a frame,
   * so that not each token causes a render.
   */
  show(facts: Partial<Facts> = {}, now = false): void {
    Object.assign(this.facts, facts);
    const wait = this.#shownAt + FRAME_MS - performance.now();
    if (now || wait <= 0) this.#publish();
    else this.#timer ??= setTimeout(() => this.#publish(), wait);
  }

  #publish(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const before = this.snapshot;
    const { text, parts, offset, version } = this.transcript;
    const next: Snapshot = {
      ...this.facts,
      text,
      parts: version === this.#shownVersion ? before.parts : [...parts],
      offset,
    };
    if ((Object.keys(next) as (keyof Snapshot)[]).every((key) => next[key] === before[key])) return;
    this.#shownVersion = version;
    this.#shownAt = performance.now();
    this.snapshot = next;
    for (const watcher of this.watchers) {
      // Each watcher runs in its own microtask, so that its error does not stop the next watcher.
      queueMicrotask(() => this.watchers.has(watcher) && watcher());
    }
  }
}
