import { describe, expect, it } from "vitest";
import { Transcript } from "../src/transcript.js";
import { cpuMs } from "./cpu.js";
import { offset } from "./wire.js";

describe("Transcript", () => {
  it("I1 compares offsets of one stream as text; the end is last", () => {
    const transcript = new Transcript();
    expect(transcript.take(offset(9), ["a"])).toBe("new");
    expect(transcript.take(offset(10), ["b"])).toBe("new");
    expect(transcript.take(offset(9), ["a"])).toBe("seen");
    expect(transcript.take(`${offset(10)}.end`, [])).toBe("new");
    expect(transcript.take(`${offset(10)}.end`, [])).toBe("seen");
    expect(transcript.take(offset(10), ["b"])).toBe("seen");
    expect(transcript.take(offset(11, 8), ["other"])).toBe("other");
    expect(transcript.text).toBe("ab");
  });

  it("I1 ignores the tag after a position", () => {
    const transcript = new Transcript();
    const at = (position: string, tag: string) => `00000g00aa_${position}_${tag}`;
    expect(transcript.take(at("00000001v", "z_-A"), ["a"])).toBe("new");
    expect(transcript.take(at("00000001v", "A_-z"), ["a"])).toBe("seen");
    expect(transcript.take(at("000000020", "A_-z"), ["b"])).toBe("new");
    expect(transcript.take(at("00000001v", "A_-z"), ["a"])).toBe("seen");
    expect(transcript.completes(`${at("000000020", "____")}.end`)).toBe(true);
    expect(transcript.take(`${at("000000020", "____")}.end`, [])).toBe("new");
    expect(transcript.take("00000g00ab_000000021_A_-z", ["x"])).toBe("other");
    expect(new Transcript().completes(`${at("000000000", "____")}.end`)).toBe(true);
    expect(transcript.text).toBe("ab");
  });

  it.each(["-1", "now", offset(0, 0)])("accepts any message after %s", (start) => {
    const transcript = new Transcript(start, ["so far, "]);
    expect(transcript.take(offset(5), ["more"])).toBe("new");
    expect(transcript.parts).toEqual(["so far, more"]);
  });

  it.each([
    [null, offset(0), true],
    [null, offset(10), false],
    [offset(3), offset(3), true],
    [`${offset(3)}.end`, offset(3), true],
    [offset(3), offset(4), false],
    [offset(3), offset(3, 8), false],
    ["now", offset(4), true],
  ])("I2 after %s, an end at %s is accepted: %s", (known, end, believed) => {
    expect(new Transcript(known).completes(`${end}.end`)).toBe(believed);
  });

  it("gives every reader each character once, in larger pieces if slow", () => {
    const transcript = new Transcript();
    const place = { index: 0, taken: 0 };
    const after = () => [...transcript.after(place)];
    transcript.take(offset(1), ["a", "b"]);
    expect(after()).toEqual(["ab"]);
    expect(after()).toEqual([]);
    transcript.take(offset(3), ["c", { kind: "tool" }, "d"]);
    transcript.take(offset(4), ["e"]);
    expect(after()).toEqual(["c", { kind: "tool" }, "de"]);
    transcript.take(offset(5), [{ kind: "tool" }]);
    expect(after()).toEqual([{ kind: "tool" }]);
  });

  it("costs the same per token at 10k and at 200k tokens", () => {
    const perToken = (tokens: number): number => {
      const transcript = new Transcript();
      const started = cpuMs();
      for (let n = 1; n <= tokens; n++) transcript.take(offset(n), ["token "]);
      return (cpuMs() - started) / tokens;
    };
    perToken(10_000); // this warms the code up
    expect(perToken(200_000)).toBeLessThan(8 * perToken(10_000) + 0.001);
  });
});
