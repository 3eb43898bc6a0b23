/** G2: for any chunks, cuts and repetitions, every shown text is a prefix of the whole text. */
import fc from "fast-check";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createClient, type Part } from "../src/index.js";
import { endFrame, frame, offset, pass, virtualTime } from "./wire.js";

interface Fate {
  status: number;
  /** How many messages before the offset the server sends again. */
  again: number;
  /** How many adjacent pieces of text an event may join. */
  joined: number;
  /** After how many bytes the connection ends. */
  cut: number;
  /** How many bytes arrive together. */
  chunk: number;
  broken: boolean;
}

const message = fc.oneof(
  fc.string({ unit: "grapheme", minLength: 1, maxLength: 8 }),
  fc.constantFrom("\r\n", "\0", "\u2028", "data: x\n\n", "🏳️‍🌈", "\u{1F600}"),
  fc.record({ type: fc.constant("tool"), input: fc.string() }),
);

const fate: fc.Arbitrary<Fate> = fc.record({
  status: fc.constantFrom(200, 200, 200, 200, 502, 429),
  again: fc.nat(3),
  joined: fc.integer({ min: 1, max: 4 }),
  cut: fc.nat(600),
  chunk: fc.integer({ min: 1, max: 90 }),
  broken: fc.boolean(),
});

/** The events after position `after`. An event joins up to `joined` adjacent pieces of text. */
function events(messages: Part[], after: number, joined: number): string {
  const frames: string[] = [];
  for (let at = after; at < messages.length;) {
    const run = [messages[at] as Part];
    while (
      typeof run[0] === "string" &&
      run.length < joined &&
      typeof messages[at + run.length] === "string"
    ) {
      run.push(messages[at + run.length] as Part);
    }
    at += run.length;
    frames.push(frame(at, typeof run[0] === "string" ? run.join("") : run[0]));
  }
  return frames.join("");
}

function joinText(messages: Part[]): Part[] {
  const parts: Part[] = [];
  for (const it of messages) {
    if (typeof it === "string" && typeof parts.at(-1) === "string") parts.push(parts.pop() + it);
    else parts.push(it);
  }
  return parts;
}

function serve(messages: Part[], from: string | null, fate: Fate | undefined): Response {
  const done = from === null ? 0 : Number(from.slice(17, 33));
  if (from !== null) expect(from).toBe(offset(done));
  if (fate && fate.status !== 200) return new Response("", { status: fate.status });
  // Send messages again only if each event has one message. Otherwise an event could join an old
  // message with a new message, and a proxy that repeats events makes no such event.
  const start = fate?.joined === 1 ? Math.max(0, done - fate.again) : done;
  const sent = `: ping\n\n${events(messages, start, fate?.joined ?? 3)}${endFrame(messages.length)}`;
  const bytes = new TextEncoder().encode(sent).slice(0, fate?.cut);
  let at = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = bytes.slice(at, (at += fate?.chunk ?? 50));
      if (piece.length) controller.enqueue(piece);
      else if (fate?.broken) controller.error(new TypeError("cut"));
      else controller.close();
    },
  });
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
}

beforeEach(() => {
  virtualTime();
});
afterEach(() => {
  vi.useRealTimers();
});

it("G2: any chunking, any cut, any repetition give the same text", async () => {
  const property = fc.asyncProperty(
    fc.array(message, { maxLength: 12 }),
    fc.array(fate, { maxLength: 6 }),
    async (messages, fates) => {
      const whole = messages.filter((it) => typeof it === "string").join("");
      const left = [...fates];
      const stream = createClient({
        fetch: async (address) =>
          serve(messages, new URL(address).searchParams.get("offset"), left.shift()),
      }).stream("http://test.invalid/s");
      const shown: string[] = [];
      stream.subscribe(() => shown.push(stream.getSnapshot().text));
      const came: Part[] = [];
      const loop = (async () => {
        for await (const part of stream) came.push(part);
      })();
      for (let n = 0; n < 40 && stream.getSnapshot().status !== "done"; n++) await pass(15_000);
      await loop;
      expect(shown.filter((text) => !whole.startsWith(text))).toEqual([]);
      expect(stream.getSnapshot()).toMatchObject({ text: whole, parts: joinText(messages) });
      expect(joinText(came)).toEqual(joinText(messages));
      stream.disconnect();
    },
  );
  await fc.assert(property, { numRuns: 300 });
});
