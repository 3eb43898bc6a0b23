/** Text that arrives in lumps, shown at a steady pace. */

/** The text on the screen is never further behind than this. */
const BEHIND_MS = 1_000;
const FRAME_MS = 16;

/** How a text is shown. */
export interface SmoothOptions {
  /** Called with what to show: at most once a frame, each time more of the text. */
  show: (text: string) => void;
  /** How far behind the screen may be, in milliseconds; 1,000 by default, and at most. */
  behindMs?: number;
}

/** A text on its way to the screen. */
export interface Smooth {
  /** Say what the text is now. One that does not begin with what is shown is shown at once. */
  write(text: string): void;
  /** Show all that was written, now: the answer has ended. */
  finish(): void;
  /** Show nothing more: the text has left the page. */
  stop(): void;
}

/**
 * Show a text that grows in lumps (a proxy that buffers, a page that polls) at a steady pace.
 *
 * Each lump is spread over the time until the next is expected, within `behindMs`; text that comes
 * in small pieces passes as it comes. Where the reader asks for less motion, and in a page that nobody
 * sees, everything is shown at once. Characters are not cut in half.
 */
export function smooth({ show, behindMs = BEHIND_MS }: SmoothOptions): Smooth {
  const limit = Math.min(behindMs, BEHIND_MS);
  /** Up to which length the text is to be shown when; both grow. */
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
      // Text that was there before the page is not typed once more.
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

/** Return a length at which no character is cut in half. */
function whole(text: string, length: number): number {
  const last = text.charCodeAt(length - 1);
  const half = last >= 0xd800 && last < 0xdc00 && length < text.length;
  return half ? length + 1 : length;
}

function prefersStillness(): boolean {
  const { document: doc, matchMedia } = globalThis as Partial<typeof globalThis>;
  if (doc?.visibilityState === "hidden") return true; // timers sleep there
  return matchMedia?.("(prefers-reduced-motion: reduce)").matches ?? false;
}
