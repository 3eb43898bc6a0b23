/** The reader handles messages and the end as SPEC.md's table says (T14–T21). */
import { describe, expect, it } from "vitest";
import { fold } from "../src/parts.js";
import { client, opened, setScene, shown, snapshot, stream, use, watch, wire } from "./scene.js";
import { endFrame, frame, offset, pass } from "./wire.js";

setScene();

describe("a message", () => {
  it("T14 is appended: text joined, structured parts in order", async () => {
    await opened("Hel", "lo", { type: "tool" }, "!", "");
    expect(shown()).toMatchObject({
      text: "Hello!",
      parts: ["Hello", { type: "tool" }, "!"],
      status: "streaming",
      offset: offset(5),
    });
  });

  it("T14 resets the back-off", async () => {
    await watch();
    wire.last.fail();
    await pass(1_000);
    wire.last.fail();
    await pass(2_000);
    wire.last.stream("Hi");
    await pass(16);
    wire.last.close();
    await pass(1_000);
    expect(wire.count).toBe(4);
  });

  it("does not reset the back-off for a server that only accepts and closes", async () => {
    await watch();
    for (const ms of [1_000, 2_000, 4_000]) {
      wire.last.stream();
      await pass(16);
      wire.last.close();
      const { count } = wire;
      await pass(ms - 1);
      expect(wire.count).toBe(count);
      await pass(1);
      expect(wire.count).toBe(count + 1);
    }
  });

  it("resets the back-off after a connection that was quiet but steady", async () => {
    await watch();
    for (let n = 0; n < 3; n++) {
      wire.last.stream();
      await pass(15_000);
      wire.last.close();
      await pass(1_000);
    }
    expect(wire.count).toBe(4);
  });

  it("T15, I1 is dropped if it was seen before (G2)", async () => {
    await opened("a", "b");
    wire.last.send(frame(1, "a") + frame(2, "b") + frame(3, "c"));
    await pass(16);
    expect(shown().text).toBe("abc");
  });

  it("T16 of another stream under the same name replaces the text (G2)", async () => {
    await opened("old");
    wire.last.send(frame(5, "tail of another", 8));
    await pass(16);
    expect(shown().text).toBe("");
    expect(wire.last.from).toBe(null);
    wire.last.open().send(frame(5, "whole", 8));
    await pass(16);
    expect(shown().text).toBe("whole");
  });

  it.each([
    ["without an id", 'data: "x"\n\n'],
    ["that is no JSON", `id: ${offset(1)}\ndata: {"a\n\n`],
    ["end without an end", `event: end\nid: ${offset(0)}.end\ndata: null\n\n`],
  ])("T19 fails on an event %s", async (_, bytes) => {
    await watch();
    wire.last.open().send(bytes);
    await pass(60_000);
    expect(shown()).toMatchObject({ status: "error", error: { code: "invalid_event" } });
    expect(wire.count).toBe(1);
  });

  it("T19 fails on a snapshot that cannot be taken", async () => {
    await opened("a");
    wire.last.close();
    await pass(1_000);
    wire.last.json({ parts: ["b"], status: "done" }); // without an offset
    await pass(60_000);
    expect(shown()).toMatchObject({ status: "error", error: { code: "invalid_event" }, text: "a" });
    expect(wire.count).toBe(2);
  });

  it("T14 takes any JSON value, which another program may have written to a log", async () => {
    const values = [null, 1, true, [null], { type: null }, { a: null }, null];
    await opened(...values);
    wire.last.send(frame(8, "text") + endFrame(8));
    await pass();
    expect(shown()).toMatchObject({ status: "done", text: "text", parts: [...values, "text"] });
    const all: unknown[] = [];
    for await (const part of stream) all.push(part);
    expect(all).toEqual([...values, "text"]);
    expect(fold(shown().parts).parts[0]).toEqual({ type: "data-part", data: null });
  });

  it("ignores events of an unknown kind", async () => {
    await opened("a");
    wire.last.send(`event: mood\nid: ${offset(9)}\ndata: happy\n\n${frame(2, "b")}`);
    await pass(16);
    expect(shown().text).toBe("ab");
  });
});

describe("the end", () => {
  it.each([
    ["done", null],
    ["cancelled", null],
    ["error", { code: "overloaded", message: "Try later" }],
    ["timeout", { code: null, message: null }],
  ])("T17 %s shows immediately, with its result", async (status, error) => {
    await opened("Hi");
    const at = Date.now();
    wire.last.send(endFrame(1, { status, ...error, result: { tokens: 12 } }));
    await pass();
    expect(Date.now()).toBe(at);
    expect(shown()).toMatchObject({ status, error, text: "Hi", result: { tokens: 12 } });
    expect(shown()).toMatchObject({ connection: "closed", offset: `${offset(1)}.end` });
    await pass(60_000);
    expect(wire.count).toBe(1);
    expect(wire.last.givenUp, "the connection is closed").toBe(true);
  });

  it("a finished stream costs one GET", async () => {
    await watch();
    wire.last.stream("all", " of it").send(endFrame(2));
    await pass(60_000);
    expect(shown()).toMatchObject({ status: "done", text: "all of it" });
    expect(wire.count).toBe(1);
    await watch(client.stream("/s/a"));
    expect(wire.count).toBe(1);
  });

  it("T17 of an empty stream is accepted", async () => {
    await watch();
    wire.last.stream().send(endFrame(0));
    await pass();
    expect(shown()).toMatchObject({ status: "done", text: "" });
  });

  it.each([
    ["with messages missing before it", endFrame(3)],
    ["of another stream", endFrame(1, undefined, 8)],
  ])("T18, I2 %s is not accepted", async (_, bytes) => {
    await opened("a");
    wire.last.send(bytes);
    await pass(16);
    expect(shown()).toMatchObject({ status: "streaming", connection: "waiting", text: "a" });
    await pass(1_000);
    expect(wire.last.from).toBe(offset(1));
    wire.last.open().send(frame(3, "bc") + endFrame(3));
    await pass(16);
    expect(shown()).toMatchObject({ status: "done", text: "abc" });
  });

  it("T18 is not accepted if no message arrived before it", async () => {
    await watch();
    wire.last.stream().send(endFrame(3));
    await pass(16);
    expect(shown().connection).toBe("waiting");
  });

  it("is requested as a snapshot if only the status is missing", async () => {
    const initial = { offset: `${offset(2)}.end`, text: "Hello" };
    use(client.stream("/s/a", { initial }));
    await watch();
    expect(wire.last.url.searchParams.get("format")).toBe("json");
    wire.last.json({ ...snapshot(2, [], { status: "done" }), ...{ offset: initial.offset } });
    await pass();
    expect(shown()).toMatchObject({ status: "done", text: "Hello", transport: "events" });
  });

  it("T20, G5 is not assumed when the connection ends", async () => {
    await opened("Hel");
    wire.last.send("id: 0000").close();
    await pass(16);
    expect(shown()).toMatchObject({ status: "streaming", connection: "waiting" });
    await pass(1_000);
    expect(wire.last.from).toBe(offset(1));
  });

  it("T21 a silent connection is replaced", async () => {
    await opened("Hel");
    await pass(30_000);
    wire.last.send(": ping\n\n");
    await pass(37_400);
    expect(wire.count).toBe(1);
    await pass(1_200);
    expect(wire.all[0]?.givenUp).toBe(true);
    expect(wire.last.from).toBe(offset(1));
  });
});
