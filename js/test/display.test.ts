/** The observable store keeps the invariants I7, I8 and I12 of SPEC.md. */
import { describe, expect, it } from "vitest";
import { calls, opened, setScene, shown, stream, wire } from "./scene.js";
import { endFrame, frame, pass } from "./wire.js";

setScene();

describe("the observable store", () => {
  it("I7 keeps the snapshot until something changes, and the parts until messages come", async () => {
    await opened("a", { kind: "tool" });
    const before = shown();
    wire.last.send(": ping\n\n");
    await pass(16);
    expect(shown()).toBe(before);
    wire.last.close();
    await pass(16);
    expect(shown()).not.toBe(before);
    expect(shown().parts).toBe(before.parts);
    expect(before).toMatchObject({ connection: "open", text: "a" });
  });

  it("I8 calls watchers at most once a frame, and immediately for the end", async () => {
    await opened();
    const before = calls;
    for (let n = 1; n <= 100; n++) {
      wire.last.send(frame(n, "x"));
      await pass();
    }
    expect(calls - before).toBeLessThanOrEqual(1);
    await pass(16);
    expect(calls - before).toBeLessThanOrEqual(2);
    expect(shown().text).toBe("x".repeat(100));
    wire.last.send(frame(101, "y"));
    await pass();
    const soFar = calls;
    wire.last.send(endFrame(101));
    await pass();
    expect(calls - soFar).toBe(1);
  });

  it("I12 survives a watcher that throws", async () => {
    const thrown: unknown[] = [];
    const listen = (error: unknown) => void thrown.push(error);
    const known = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException").on("uncaughtException", listen);
    try {
      const away = stream.subscribe(() => {
        throw new Error("theirs");
      });
      await opened("Hello");
      expect(shown().text).toBe("Hello");
      expect(calls).toBeGreaterThan(0);
      expect(thrown).toContainEqual(new Error("theirs"));
      away();
    } finally {
      process.off("uncaughtException", listen);
      for (const listener of known) process.on("uncaughtException", listener);
    }
  });
});
