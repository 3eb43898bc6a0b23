import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { smooth } from "../src/smooth.js";
import { pass, virtualTime } from "./wire.js";

let screen: string;
let shows: number;
const show = (text: string) => {
  screen = text;
  shows++;
};

beforeEach(() => {
  virtualTime();
  screen = "";
  shows = 0;
});
afterEach(() => void vi.useRealTimers());

const text = (length: number) => "abcdefghij".repeat(length / 10);

describe("smooth", () => {
  it("shows large pieces at a steady pace, at most a second late", async () => {
    const it = smooth({ show });
    const sizes: number[] = [];
    for (let second = 1; second <= 5; second++) {
      it.write(text(100 * second));
      for (let n = 0; n < 10; n++) {
        await pass(100);
        sizes.push(screen.length);
        expect(screen.length).toBeGreaterThanOrEqual(100 * (second - 1));
        expect(text(1_000).startsWith(screen)).toBe(true);
      }
    }
    const steps = sizes.slice(15, 45).map((size, n) => size - (sizes[14 + n] as number));
    expect(Math.min(...steps), "the text never stands still").toBeGreaterThan(3);
    expect(Math.max(...steps), "no step is large").toBeLessThan(25);
    await pass(1_000);
    expect(screen.length).toBe(500);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("shows small pieces that arrive often at most one piece late", async () => {
    const it = smooth({ show });
    for (let n = 1; n <= 50; n++) {
      it.write(text(10 * n));
      await pass(32);
      expect(screen.length).toBeGreaterThanOrEqual(10 * (n - 1));
    }
  });

  it("stays within the second when pieces come fast after a pause", async () => {
    const it = smooth({ show });
    it.write(text(10));
    await pass(5_000);
    it.write(text(1_000));
    for (let n = 1; n <= 9; n++) {
      await pass(100);
      it.write(text(1_000 + 10 * n));
    }
    await pass(132);
    expect(screen.length).toBeGreaterThanOrEqual(1_000);
    await pass(1_000);
    expect(screen.length).toBe(1_090);
  });

  it("shows the first text immediately, and all text at the end", async () => {
    const it = smooth({ show });
    it.write(text(5_000));
    expect(screen.length).toBe(5_000);
    await pass(1_000);
    it.write(text(6_000));
    expect(screen.length).toBe(5_000);
    it.finish();
    expect(screen.length).toBe(6_000);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("shows another text immediately, and never a mixture", async () => {
    const it = smooth({ show });
    it.write("before the restore");
    await pass(1_000);
    it.write("after it");
    expect(screen).toBe("after it");
    it.write("");
    expect(screen).toBe("");
  });

  it("cuts no character in half", async () => {
    const seen: string[] = [];
    const it = smooth({ show: (text) => seen.push(text) });
    it.write("😀");
    await pass(1_000);
    it.write("😀".repeat(50));
    await pass(1_100);
    expect(seen.at(-1)).toBe("😀".repeat(50));
    for (const one of seen) expect(one).not.toMatch(/[\ud800-\udbff]$/);
  });

  it.each(["reduced motion", "a hidden page"])("shows everything at once with %s", async (why) => {
    if (why === "reduced motion") vi.stubGlobal("matchMedia", () => ({ matches: true }));
    else vi.stubGlobal("document", { visibilityState: "hidden" });
    const it = smooth({ show });
    it.write("a");
    await pass(1_000);
    it.write(text(1_000));
    expect(screen.length).toBe(1_000);
    expect(shows).toBe(2);
  });

  it("shows nothing more after stop", async () => {
    const it = smooth({ show });
    it.write("a");
    await pass(1_000);
    it.write(`a${text(1_000)}`);
    it.stop();
    await pass(2_000);
    expect(screen).toBe("a");
  });
});
