/** `fold` in TypeScript and in Python give the same results for the same cases. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fold, isKnown, type Part } from "../src/parts.js";
import { Transcript } from "../src/transcript.js";
import { cpuMs } from "./cpu.js";
import { offset } from "./wire.js";

interface Cases {
  cases: { name: string; parts: Part[]; ended: boolean; message: unknown }[];
  many: { name: string; times: number; parts: Part[]; count: number }[];
}
const { cases, many } = JSON.parse(
  readFileSync(new URL("../../tests/parts/cases.json", import.meta.url), "utf8"),
) as Cases;

/** Join parts as the client joins them. */
const read = (parts: readonly Part[]): readonly Part[] => new Transcript(null, parts).parts;

describe("fold", () => {
  it.each(cases)("$name", ({ parts, ended, message }) => {
    // The test compares text, because a comparison of objects ignores a key `__proto__`.
    const same = (value: unknown) => JSON.stringify(value, sorted);
    expect(same(fold(parts, { ended }))).toBe(same(message));
    expect(same(fold(read(parts), { ended })), "deltas joined").toBe(same(message));
    expect(({} as { admin?: boolean }).admin, "no prototype was touched").toBeUndefined();
  });

  it.each(many)("$name, in linear time", ({ times, parts, count }) => {
    const pattern = JSON.stringify(parts);
    const made = (n: number) =>
      Array.from({ length: n }, (_, at) =>
        JSON.parse(pattern.replaceAll("$n", String(at))),
      ).flat() as Part[];
    const all = made(times);
    const spent = (some: Part[]): number => {
      const started = cpuMs();
      fold(read(some));
      return cpuMs() - started;
    };
    const tenth = made(times / 10);
    spent(tenth); // this warms the code up
    expect(fold(all).parts.length).toBe(count);
    expect(spent(all)).toBeLessThan(40 * spent(tenth) + 50);
  });

  it("does not change the given parts", () => {
    for (const { parts, ended } of cases) {
      const before = JSON.stringify(parts);
      fold(parts, { ended });
      expect(JSON.stringify(parts)).toBe(before);
    }
  });
});

describe("deltas", () => {
  const delta = fc.oneof(
    fc.string(),
    fc.record({
      type: fc.constant("reasoning-delta"),
      id: fc.constantFrom("a", "__proto__"),
      delta: fc.string(),
    }),
    fc.record({
      type: fc.constant("tool-input-delta"),
      toolCallId: fc.constantFrom("a", "b"),
      inputTextDelta: fc.string(),
    }),
    fc.constant({ type: "reasoning-delta", id: "a", delta: "x", providerMetadata: {} }),
    fc.constant({ type: "reasoning-delta", id: "a", delta: 7 }),
  );

  it("fold to the same message, joined or not", () => {
    const begun: Part[] = [
      { type: "reasoning-start", id: "a" },
      { type: "reasoning-start", id: "__proto__" },
      { type: "tool-input-start", toolCallId: "a", toolName: "t" },
    ];
    fc.assert(
      fc.property(fc.array(delta), (deltas) => {
        const parts = [...begun, ...deltas] as Part[];
        expect(fold(read(parts))).toEqual(fold(parts));
      }),
    );
  });

  it("reach a slow loop joined, each character once", () => {
    const transcript = new Transcript();
    const place = { index: 0, taken: 0 };
    const seen: Part[] = [];
    const come = (position: number, ...parts: Part[]) => {
      transcript.take(offset(position), parts);
      seen.push(...transcript.after(place));
    };
    const a = (text: string) => ({ type: "reasoning-delta", id: "a", delta: text });
    come(1, a("1"), a("2"));
    come(2, a("3"));
    come(3, { ...a("4"), id: "b" }, "text", a("5"));
    expect(seen).toEqual([a("12"), a("3"), { ...a("4"), id: "b" }, "text", a("5")]);
    expect(transcript.parts).toEqual([a("123"), { ...a("4"), id: "b" }, "text", a("5")]);
  });
});

it("isKnown accepts known parts, and no objects of the application", () => {
  expect(isKnown({ type: "source-url", sourceId: "s", url: "https://a.invalid" })).toBe(true);
  expect(isKnown({ type: "source-url", sourceId: "s", url: "java\nscript:alert(1)" })).toBe(false);
  expect(isKnown({ type: "tool_call" })).toBe(false);
  expect(isKnown("text")).toBe(false);
});

function sorted(_: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  const all = {};
  for (const [key, it] of entries) {
    Object.defineProperty(all, key, { value: it, enumerable: true });
  }
  return all;
}
