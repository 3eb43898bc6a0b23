import { Transcript } from "./transcript.js";
import { type Initial, isEnded, type Snapshot } from "./types.js";

const FRAME_MS = 16;

/** The fields of a snapshot other than its text. */
export type Facts = {
  -readonly [key in Exclude<keyof Snapshot, "text" | "parts" | "offset">]: Snapshot[key];
};

/** Return the snapshot before the first request. */
export function firstSnapshot(initial: Initial = {}): Snapshot {
  const parts = initial.parts ?? (initial.text ? [initial.text] : []);
  const { status = parts.length ? "streaming" : "pending" } = initial;
  const { text, offset } = new Transcript(initial.offset, parts);
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

/**
 * Keeps the snapshot for watchers. It is built again when the transcript or the facts have changed,
 * but at most once a frame. So a token costs a piece of a string, and not a render.
 */
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

  /** Discard the text, because its stream no longer exists. */
  clear(): void {
    this.transcript = new Transcript();
    this.#shownVersion = -1;
    this.facts.resets++;
  }

  /** Change facts, and show them and the new text: now, or a frame after the last update. */
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
      // Call each watcher in a task of its own, so that one that throws does not stop the others.
      queueMicrotask(() => this.watchers.has(watcher) && watcher());
    }
  }
}
