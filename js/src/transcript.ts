import { deltaText, joined } from "./deltas.js";
import type { Part } from "./types.js";

/**
 * One stream's messages on this page, each exactly once, in order.
 *
 * Offsets begin with `{internal id}_{position}`, both of fixed width. So the offsets of one stream
 * sort as text. If the internal id changes, the stream was deleted and created again. A tag may
 * follow the position; only the server reads the tag.
 */
export class Transcript {
  text = "";
  /** Adjacent text is joined, and so are adjacent deltas of one id. The last part may grow. */
  readonly parts: Part[] = [];
  /** A number that grows with every change. If it is the same, a copy of `parts` is current. */
  version = 0;

  constructor(
    public offset: string | null = null,
    parts: readonly Part[] = [],
  ) {
    parts.forEach((part) => this.#add(part));
  }

  /**
   * Add `parts`, the messages before `offset`.
   *
   * Returns `seen` if this transcript already has the messages. Returns `other` if the messages
   * belong to another stream, so that this transcript is invalid. Nothing changes in either case.
   */
  take(offset: string, parts: readonly Part[]): "new" | "seen" | "other" {
    const known = this.offset;
    if (known !== null && !isStart(known)) {
      const [id, position] = place(offset);
      const [knownId, knownPosition] = place(known);
      if (id !== knownId) return "other";
      // The terminal event repeats the position of the last message. No other event may do that.
      const isEnd = offset.endsWith(".end") && !known.endsWith(".end");
      if (isEnd ? position < knownPosition : position <= knownPosition) return "seen";
    }
    parts.forEach((part) => this.#add(part));
    this.offset = offset;
    this.version++;
    return "new";
  }

  /** Return whether a terminal event's offset follows the last message without a gap. */
  completes(offset: string): boolean {
    const known = this.offset;
    const [id, position] = place(offset);
    if (known === null) return /^0+$/.test(position);
    const [knownId, knownPosition] = place(known);
    return isStart(known) || (id === knownId && position === knownPosition);
  }

  /** Yield the parts after `place`, and move `place` behind each yielded part. */
  *after(place: { index: number; taken: number }): Generator<Part, void, undefined> {
    while (place.index < this.parts.length) {
      const part = this.parts[place.index] as Part;
      const field = deltaText(part);
      const text = field === undefined ? part : (part as Record<string, string>)[field];
      if (typeof text !== "string") {
        place.index++;
        yield part;
      } else if (text.length > place.taken) {
        const piece = text.slice(place.taken);
        place.taken = text.length;
        yield field === undefined ? piece : { ...(part as object), [field]: piece };
      } else if (place.index < this.parts.length - 1) {
        place.index++;
        place.taken = 0;
      } else return; // the last part may still grow
    }
  }

  #add(part: Part): void {
    const last = this.parts.length - 1;
    if (typeof part !== "string") {
      const longer = joined(this.parts[last], part);
      if (longer) this.parts[last] = longer;
      else this.parts.push(part);
      return;
    }
    // JavaScript engines join strings lazily. So the whole text is copied only when it is used, and
    // not for each token.
    this.text += part;
    if (typeof this.parts[last] === "string") this.parts[last] += part;
    else if (part !== "") this.parts.push(part);
  }
}

/** Return whether any message may follow `offset`: true for a stream's start, and for `now`. */
function isStart(offset: string): boolean {
  return !offset.includes("_") || place(offset).every((it) => /^0+$/.test(it));
}

function place(offset: string): [string, string] {
  const [id = "", position = ""] = offset.replace(/\.end$/, "").split("_");
  return [id, position];
}
