/** The longest time by which the text on the screen may be late. */
const BEHIND_MS = 1_000;
const FRAME_MS = 16;

export interface SmoothOptions {
  /**
   * Called with the text to show, which grows from call to call. If another text replaces the shown
   * text, `show("")` is called first.
   */
  show: (text: string) => void;
  /** How late the screen may be, in milliseconds; 1,000 by default, which is also the maximum. */
  behindMs?: number;
}

/** A text that is being shown. */
export interface Smooth {
  /** Set the current text. If it does not continue the shown text, show it immediately. */
  write(text: string): void;
  /** Show the whole text now, because the answer has ended. */
  finish(): void;
  /** Show nothing more, because the text has left the page. */
  stop(): void;
}

/**
 * Show a text that grows in large pieces (a buffering proxy, a polling page) at a steady pace.
 *
 * `smooth` spreads each piece over as much time as passed since the piece before, up to `behindMs`.
 * So small pieces that arrive often appear almost immediately. If the user prefers reduced motion,
 * or the page is hidden, all text is shown immediately. Characters are never cut in half.
 */
export function smooth({ show, behindMs = BEHIND_MS }: SmoothOptions): Smooth {
  const limit = Math.min(behindMs, BEHIND_MS);
  /** For each length of the text, the time at which that length must be shown. Both values grow. */
  const marks: { length: number; due: number }[] = [];
  let text = "";
  let shown = 0;
  let writtenAt: number | undefined;
  let tickedAt = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const reveal = (length: number): void => {
    if (length <= shown) return;
    shown = whole(text, length);
    show(text.slice(0, shown));
  };
  const all = (): void => {
    clearTimeout(timer);
    timer = undefined;
    marks.length = 0;
    reveal(text.length);
  };
  const tick = (): void => {
    timer = undefined;
    const now = performance.now();
    let length = shown;
    while (marks[0] && marks[0].due <= now) length = marks.shift()?.length ?? length;
    const [next] = marks;
    if (!next) return reveal(length);
    const share = (now - tickedAt) / (next.due - tickedAt);
    reveal(Math.max(length, shown + Math.floor((next.length - shown) * share)));
    tickedAt = now;
    timer = setTimeout(tick, FRAME_MS);
  };

  return {
    write(next) {
      const now = performance.now();
      const first = writtenAt === undefined;
      const gap = now - (writtenAt ?? now);
      if (next.length !== text.length) writtenAt = now;
      if (!next.startsWith(text.slice(0, shown))) {
        shown = 0; // another text
        show("");
      }
      text = next;
      // Show the first text immediately, because it may have existed before the page was opened.
      if (first || shown === 0 || prefersStillness()) return all();
      const before = marks.at(-1);
      if (text.length <= (before?.length ?? shown)) return;
      const due = Math.max(before?.due ?? 0, now + Math.min(gap, limit));
      marks.push({ length: text.length, due });
      if (timer === undefined) {
        tickedAt = now;
        timer = setTimeout(tick, FRAME_MS);
      }
    },
    finish: all,
    stop() {
      clearTimeout(timer);
      marks.length = 0;
    },
  };
}

/** Return `length`, or one more if `length` would cut a character in half. */
function whole(text: string, length: number): number {
  const last = text.charCodeAt(length - 1);
  const half = last >= 0xd800 && last < 0xdc00 && length < text.length;
  return half ? length + 1 : length;
}

function prefersStillness(): boolean {
  const { document: doc, matchMedia } = globalThis as Partial<typeof globalThis>;
  if (doc?.visibilityState === "hidden") return true; // timers are slow in a hidden page
  return matchMedia?.("(prefers-reduced-motion: reduce)").matches ?? false;
}
