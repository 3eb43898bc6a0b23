/** SPEC.md's table, row by row, under virtual time. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Client, createClient, InkstreamError, type Stream } from "../src/index.js";
import { endFrame, fakePage, frame, offset, pass, virtualTime, Wire } from "./wire.js";

let wire: Wire;
let client: Client;
let stream: Stream;
let calls: number;
let leave: () => void;
const watched: Stream[] = [];

beforeEach(() => {
  virtualTime();
  wire = new Wire();
  client = createClient({ fetch: wire.fetch });
  stream = client.stream("/s/a");
  calls = 0;
});

afterEach(async () => {
  for (const it of [stream, ...watched.splice(0)]) it.disconnect();
  await pass();
  const left = vi.getTimerCount();
  vi.useRealTimers();
  expect(left, "timers left behind").toBe(0);
});

const watch = async (it: Stream = stream): Promise<void> => {
  watched.push(it);
  leave = it.subscribe(() => calls++);
  await pass();
};
const shown = () => stream.getSnapshot();
/** Begin, receive these messages, and be open. */
const opened = async (...parts: unknown[]): Promise<void> => {
  await watch();
  wire.last.stream(...parts);
  await pass(16);
};
const snapshot = (position: number, parts: unknown[], more: object = {}) => ({
  offset: offset(position),
  parts,
  status: "streaming",
  ...more,
});

describe("watching", () => {
  it("T1 asks with the first watcher, and not before (I10)", async () => {
    expect(shown()).toMatchObject({ status: "pending", text: "", connection: "connecting" });
    expect(wire.count).toBe(0);
    await watch();
    expect(wire.last).toMatchObject({ method: "GET", path: "/s/a", from: null });
    expect(wire.last.headers.get("accept")).toBe("text/event-stream");
  });

  it("T1 goes on from the offset it had reached when watched again", async () => {
    await opened("Hel");
    leave();
    await pass();
    expect(wire.last.givenUp).toBe(true);
    expect(shown()).toMatchObject({ text: "Hel", connection: "closed" });
    await watch();
    await pass(16);
    expect(wire.last.from).toBe(offset(1));
    expect(shown()).toMatchObject({ text: "Hel", connection: "connecting" });
  });

  it("T1 asks nothing for a stream that is known to have ended", async () => {
    stream = client.stream("/s/a", { initial: { status: "done", text: "all" } });
    await watch();
    expect(wire.count).toBe(0);
    expect(shown()).toMatchObject({ text: "all", status: "done", connection: "closed" });
  });

  it("T1 tries again what failed by HTTP, when somebody watches anew", async () => {
    await opened("Hel");
    wire.last.close();
    await pass(1_000);
    wire.last.refuse(401, "unauthorized");
    await pass();
    expect(shown().error?.http).toBe(401);
    await watch(client.stream("/s/a"));
    await pass(16);
    expect(wire.last.from).toBe(offset(1));
    expect(shown()).toMatchObject({ status: "streaming", error: null });
    wire.last.open().send(frame(2, "lo") + endFrame(2));
    await pass(16);
    expect(shown()).toMatchObject({ status: "done", text: "Hello" });
  });

  it("T2, I5 shares one request among all watchers of an address", async () => {
    await opened("Hello");
    const other = client.stream(new URL("http://test.invalid/s/a").pathname);
    expect(other.getSnapshot()).toBe(shown());
    const away = other.subscribe(() => {});
    await pass();
    expect(wire.count).toBe(1);
    leave();
    await pass();
    expect(wire.last.givenUp).toBe(false);
    away();
    await pass();
    expect(wire.last.givenUp).toBe(true);
  });

  it("T3 starts a stream that others watch already, when the driver comes later", async () => {
    await watch();
    const driver = client.stream("/s/a", { drive: "/ask", driveBody: { stream_id: "a" } });
    const away = driver.subscribe(() => {});
    await pass();
    expect(wire.all[0]?.givenUp).toBe(true);
    expect(wire.last).toMatchObject({ method: "POST", path: "/ask" });
    expect(wire.last.init.body).toBe('{"stream_id":"a"}');
    wire.last.stream("Hi");
    await pass(16);
    expect(shown().text).toBe("Hi");
    away();
  });

  it("T4, I6 survives leaving and coming back in one task", async () => {
    await opened("Hel");
    leave();
    leave = stream.subscribe(() => calls++);
    await pass();
    expect(wire.count).toBe(1);
    expect(wire.last.givenUp).toBe(false);
  });

  it("T26 disconnects its own watchers only", async () => {
    await opened();
    const other = client.stream("/s/a");
    const away = other.subscribe(() => {});
    stream.disconnect();
    await pass();
    expect(wire.last.givenUp).toBe(false);
    away();
    await pass();
    expect(wire.last.givenUp).toBe(true);
  });
});

describe("an answer", () => {
  it("T5 opens with the first byte, and stays pending until there is a message", async () => {
    await watch();
    wire.last.open();
    await pass();
    expect(shown().connection).toBe("connecting");
    wire.last.send(": ping\n\n");
    await pass(16);
    expect(shown()).toMatchObject({ connection: "open", status: "pending", transport: "events" });
  });

  it("T7 follows by GET what a driver's POST has only started", async () => {
    stream = client.stream("/s/a", { drive: "/ask" });
    await watch();
    wire.last.json({ stream_id: "a" }, 202);
    await pass();
    expect(wire.last).toMatchObject({ method: "GET", path: "/s/a" });
    expect(wire.count).toBe(2);
  });

  it("T7 reads what a driver's POST answers, and resumes by GET at token level", async () => {
    stream = client.stream("/s/a", { drive: "/ask?x=1" });
    await watch();
    expect(wire.last.url.search).toBe("?x=1");
    wire.last.stream("Hel", "lo");
    await pass(16);
    wire.last.fail();
    await pass(1_000);
    expect(wire.last).toMatchObject({ method: "GET", path: "/s/a", from: offset(2) });
  });

  it("POSTs again while nobody has answered: a second start only follows (G4)", async () => {
    stream = client.stream("/s/a", { drive: "/ask" });
    await watch();
    wire.last.fail();
    await pass(1_000);
    expect(wire.last).toMatchObject({ method: "POST", path: "/ask" });
  });

  it.each([
    ["a page", 200, "text/html"],
    ["other JSON", 200, "application/json"],
    ["nothing", 204, ""],
  ])("T8 fails on %s where a stream should be", async (_, status, type) => {
    await watch();
    if (type === "application/json") wire.last.json({ hello: 1 });
    else wire.last.refuse(status, undefined, type ? { "content-type": type } : {});
    await pass();
    expect(shown()).toMatchObject({ status: "error", connection: "closed" });
    expect(shown().error).toMatchObject({ code: "unexpected_content", http: status });
  });

  it("T9 waits for a stream that is about to be committed, for five seconds", async () => {
    await watch();
    const started = Date.now();
    while (shown().status !== "error") {
      wire.last.refuse(404, "not_found");
      await pass(4_000);
    }
    expect(Date.now() - started).toBeGreaterThanOrEqual(5_000);
    expect(wire.count).toBeGreaterThan(2);
    expect(shown().error).toEqual({ code: "not_found", message: "about not_found", http: 404 });
  });

  it("T9 shows the stream once it is there", async () => {
    await watch();
    wire.last.refuse(404, "not_found");
    await pass(250);
    wire.last.stream("Hi");
    await pass(16);
    expect(shown().text).toBe("Hi");
  });

  it("T9, T12 takes a 404 at its word when the stream was there before", async () => {
    await opened("Hel");
    wire.last.close();
    await pass(1_000);
    wire.last.refuse(404, "not_found");
    await pass();
    expect(shown()).toMatchObject({ status: "error", text: "Hel", error: { http: 404 } });
    expect(wire.count).toBe(2);
  });

  it("T10 drops the text and starts again when the offset is gone (G10)", async () => {
    await opened("old ", { kind: "tool" });
    wire.last.close();
    await pass(1_000);
    wire.last.refuse(410, "offset_gone");
    await pass(16);
    expect(wire.last.from).toBe(null);
    expect(shown()).toMatchObject({ text: "", parts: [], offset: null, status: "pending" });
    wire.last.open().send(frame(1, "new", 8) + endFrame(1, undefined, 8));
    await pass(16);
    expect(shown()).toMatchObject({ text: "new", parts: ["new"], status: "done" });
  });

  it("T10, T12 does not ask for ever when the start itself is gone", async () => {
    await watch();
    wire.last.refuse(410, "gone");
    await pass(60_000);
    expect(wire.count).toBe(1);
    expect(shown().error).toMatchObject({ code: "gone", http: 410 });
  });

  it.each([408, 425, 429, 502, 503, 504, 520])("T11 tries again after %i", async (status) => {
    await opened("Hel");
    wire.last.close();
    await pass(1_000);
    wire.last.refuse(status);
    await pass(16);
    expect(shown()).toMatchObject({ connection: "waiting", status: "streaming", error: null });
    await pass(2_000);
    expect(wire.count).toBe(3);
    expect(wire.last.from).toBe(offset(1));
  });

  it("T11 backs off up to 15 s, and never gives up", async () => {
    await watch();
    const waits: number[] = [];
    for (let n = 0; n < 7; n++) {
      wire.last.fail();
      const since = Date.now();
      const { count } = wire;
      while (wire.count === count) await pass(500);
      waits.push(Date.now() - since);
    }
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
  });

  it("T11 spreads readers over the whole wait", async () => {
    vi.mocked(Math.random).mockReturnValue(0.25);
    await watch();
    wire.last.fail();
    await pass(249);
    expect(wire.count).toBe(1);
    await pass(1);
    expect(wire.count).toBe(2);
  });

  it("T11, T22 honours Retry-After, whatever wakes", async () => {
    const page = fakePage();
    await watch();
    wire.last.refuse(503, "shutting_down", { "retry-after": "30" });
    await pass();
    page.online();
    await pass(29_000);
    expect(wire.count).toBe(1);
    await pass(2_000);
    expect(wire.count).toBe(2);
  });

  it("T11 takes the server's retry: as the base", async () => {
    await watch();
    wire.last.open().send("retry: 200\n: ping\n\n");
    await pass(16);
    wire.last.close();
    await pass(200);
    expect(wire.count).toBe(2);
  });

  it("T11 tries again when the headers cannot be had", async () => {
    const headers = vi.fn(async () => ({ authorization: "Bearer t" }));
    headers.mockRejectedValueOnce(new Error("the token endpoint is away"));
    stream = client.stream("/s/a", { headers });
    await watch();
    expect(wire.count).toBe(0);
    await pass(1_000);
    expect(wire.last.headers.get("authorization")).toBe("Bearer t");
  });

  it("I11 asks for headers before every request: tokens expire", async () => {
    let token = 0;
    stream = client.stream("/s/a", { headers: () => ({ authorization: `Bearer ${++token}` }) });
    await opened("Hel");
    wire.last.close();
    await pass(1_000);
    expect(wire.all.map((it) => it.headers.get("authorization"))).toEqual(["Bearer 1", "Bearer 2"]);
  });

  it.each([
    [400, "invalid_offset"],
    [401, "unauthorized"],
    [403, "cross_site"],
    [406, "not_acceptable"],
    [500, undefined],
  ])("T12, I3 ends on %i and says that the request failed", async (status, code) => {
    await watch();
    wire.last.refuse(status, code);
    await pass(60_000);
    expect(wire.count).toBe(1);
    expect(shown()).toMatchObject({ status: "error", connection: "closed" });
    expect(shown().error).toMatchObject({ code: code ?? `http_${status}`, http: status });
  });
});

describe("a proxy that buffers", () => {
  it.each([
    ["after the headers", 3_000],
    ["and the headers too", 6_000],
  ])("T13 is given up %s, and what is new is fetched", async (_, ms) => {
    await watch();
    if (ms === 3_000) wire.last.open();
    await pass(ms - 1);
    expect(wire.count).toBe(1);
    await pass(1);
    expect(wire.all[0]?.givenUp).toBe(true);
    expect(wire.last.url.searchParams.get("format")).toBe("json");
    expect(wire.last.headers.get("accept")).toBe("application/json");
    expect(shown().transport).toBe("polling");
  });

  const polling = async (): Promise<void> => {
    await watch();
    wire.last.open();
    await pass(3_000);
  };

  it("T6, T24 polls from the offset, less often while nothing is new, until the end", async () => {
    await polling();
    wire.last.json(snapshot(2, ["Hello"]));
    await pass(16);
    expect(shown()).toMatchObject({ text: "Hello", connection: "open", transport: "polling" });
    const waits: number[] = [];
    for (let n = 0; n < 6; n++) {
      const { count } = wire;
      const since = Date.now();
      while (wire.count === count) await pass(100);
      waits.push(Date.now() - since);
      expect(wire.last.from).toBe(offset(2));
      wire.last.json(snapshot(2, []));
    }
    expect(waits[0]).toBeLessThanOrEqual(1_000);
    expect(waits.at(-1)).toBeGreaterThan(4_900);
    expect(Math.max(...waits)).toBeLessThanOrEqual(5_100);
    await pass(5_000);
    wire.last.json(snapshot(3, [" world"]));
    await pass(1_000);
    wire.last.json({
      ...snapshot(3, [], { status: "error", code: "overloaded", message: "Later" }),
      offset: `${offset(3)}.end`,
    });
    await pass(60_000);
    expect(shown()).toMatchObject({
      text: "Hello world",
      status: "error",
      error: { code: "overloaded", message: "Later" },
      connection: "closed",
    });
  });

  it("T11 returns to events when polling fails: it may have been the network", async () => {
    await polling();
    wire.last.fail();
    await pass(1_000);
    expect(wire.last.url.searchParams.get("format")).toBe(null);
    wire.last.stream("Hi");
    await pass(16);
    expect(shown()).toMatchObject({ text: "Hi", transport: "events" });
  });

  it("T13 waits when polls get no answer either", async () => {
    await polling();
    await pass(15_000);
    expect(shown()).toMatchObject({ connection: "waiting", transport: "events" });
  });

  it("T13 polls where a body cannot be read as it comes", async () => {
    const bare = new Response(null, { headers: { "content-type": "text/event-stream" } });
    stream = createClient({
      fetch: (address, init) =>
        address.includes("format=json") ? wire.fetch(address, init) : Promise.resolve(bare),
    }).stream("/s/a");
    await watch();
    wire.last.json(snapshot(1, ["Hi"]));
    await pass(16);
    expect(shown()).toMatchObject({ text: "Hi", transport: "polling" });
  });

  it("T13 looks whether a POST without an answer has started the stream; if not, POSTs again", async () => {
    stream = client.stream("/s/a", { drive: "/ask" });
    await watch();
    await pass(14_900);
    expect(wire.count, "an application may think first").toBe(1);
    await pass(100);
    expect(wire.last).toMatchObject({ method: "GET", path: "/s/a" });
    wire.last.json({ ...snapshot(0, []), status: "pending" });
    await pass(1_000);
    expect(wire.last).toMatchObject({ method: "POST", path: "/ask" });
    await pass(15_000);
    wire.last.json(snapshot(1, ["Hi"]));
    await pass(1_000);
    expect(wire.last).toMatchObject({ method: "GET", path: "/s/a", from: offset(1) });
    expect(shown()).toMatchObject({ text: "Hi", transport: "polling" });
    wire.last.fail();
    await pass(1_000);
    expect(wire.last.method, "it was started").toBe("GET");
  });

  it("T16 starts again when a poll shows another stream", async () => {
    await polling();
    wire.last.json(snapshot(2, ["old"]));
    await pass(1_000);
    wire.last.json({ ...snapshot(1, ["new"]), offset: offset(1, 8) });
    await pass(16);
    expect(shown().text).toBe("");
    expect(wire.last.from).toBe(null);
  });
});

describe("a message", () => {
  it("T14 is appended, text joined, structured parts in order", async () => {
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

  it("T15, I1 is dropped when it was seen (G2)", async () => {
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
  ])("T19 fails on an event %s", async (_, bytes) => {
    await watch();
    wire.last.open().send(bytes);
    await pass(60_000);
    expect(shown()).toMatchObject({ status: "error", error: { code: "invalid_event" } });
    expect(wire.count).toBe(1);
  });

  it("ignores events of a kind it does not know", async () => {
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
  ])("T17 %s is told at once, with its result", async (status, error) => {
    await opened("Hi");
    const at = Date.now();
    wire.last.send(endFrame(1, { status, ...error, result: { tokens: 12 } }));
    await pass();
    expect(Date.now()).toBe(at);
    expect(shown()).toMatchObject({ status, error, text: "Hi", result: { tokens: 12 } });
    expect(shown()).toMatchObject({ connection: "closed", offset: `${offset(1)}.end` });
    await pass(60_000);
    expect(wire.count).toBe(1);
    expect(wire.last.givenUp, "the connection is given back").toBe(true);
  });

  it("a finished stream costs one plain GET", async () => {
    await watch();
    wire.last.stream("all", " of it").send(endFrame(2));
    await pass(60_000);
    expect(shown()).toMatchObject({ status: "done", text: "all of it" });
    expect(wire.count).toBe(1);
    await watch(client.stream("/s/a"));
    expect(wire.count).toBe(1);
  });

  it("T17 of an empty stream is taken", async () => {
    await watch();
    wire.last.stream().send(endFrame(0));
    await pass();
    expect(shown()).toMatchObject({ status: "done", text: "" });
  });

  it.each([
    ["with messages missing before it", endFrame(3)],
    ["of another stream", endFrame(1, undefined, 8)],
  ])("T18, I2 %s is not the end", async (_, bytes) => {
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

  it("T18 with nothing before it, where there should be, is not the end", async () => {
    await watch();
    wire.last.stream().send(endFrame(3));
    await pass(16);
    expect(shown().connection).toBe("waiting");
  });

  it("asks how it ended when only that is missing", async () => {
    const initial = { offset: `${offset(2)}.end`, text: "Hello" };
    stream = client.stream("/s/a", { initial });
    await watch();
    expect(wire.last.url.searchParams.get("format")).toBe("json");
    wire.last.json({ ...snapshot(2, [], { status: "done" }), ...{ offset: initial.offset } });
    await pass();
    expect(shown()).toMatchObject({ status: "done", text: "Hello", transport: "events" });
  });

  it("T20, G5 is not the end of the connection", async () => {
    await opened("Hel");
    wire.last.send("id: 0000").close();
    await pass(16);
    expect(shown()).toMatchObject({ status: "streaming", connection: "waiting" });
    await pass(1_000);
    expect(wire.last.from).toBe(offset(1));
  });

  it("T21 is not silence: a silent connection is made anew", async () => {
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

describe("waking", () => {
  it.each(["online", "pageshow"] as const)("T22 %s makes the connection anew", async (kind) => {
    const page = fakePage();
    await opened("Hel");
    page.pageshow(false);
    await pass();
    expect(wire.count).toBe(1);
    if (kind === "online") page.online();
    else page.pageshow(true);
    await pass();
    expect(wire.all[0]?.givenUp).toBe(true);
    expect(wire.last.from).toBe(offset(1));
  });

  it("T22, T23 cut the back-off short", async () => {
    const page = fakePage();
    await watch();
    for (const wake of [() => page.online(), () => page.visible("visible")]) {
      wire.last.fail();
      await pass();
      const { count } = wire;
      page.visible("hidden");
      await pass();
      expect(wire.count).toBe(count);
      wake();
      await pass();
      expect(wire.count).toBe(count + 1);
    }
  });

  it("T22 online tries events again after polling", async () => {
    const page = fakePage();
    await watch();
    await pass(6_000);
    wire.last.json(snapshot(1, ["Hi"]));
    await pass(16);
    page.online();
    await pass();
    expect(wire.last.url.searchParams.get("format")).toBe(null);
  });

  it("T23 becoming visible doubts only a connection that was silent", async () => {
    const page = fakePage();
    await opened("Hel");
    await pass(14_000);
    page.visible("visible");
    await pass();
    expect(wire.count).toBe(1);
    await pass(7_000);
    page.visible("visible");
    await pass();
    expect(wire.count).toBe(2);
  });

  it("hears nothing any more when nobody watches", async () => {
    const page = fakePage();
    await opened("Hel");
    leave();
    await pass();
    page.online();
    await pass(60_000);
    expect(wire.count).toBe(1);
  });
});

describe("stop and disconnect", () => {
  it("T25, I9 stop POSTs, disconnect does not (G6)", async () => {
    stream = client.stream("/s/a?tenant=1", { headers: { "x-csrf": "t" } });
    await opened("Hel");
    const stopped = stream.stop();
    await pass();
    expect(wire.last).toMatchObject({ method: "POST", path: "/s/a/cancel" });
    expect(wire.last.url.search).toBe("?tenant=1");
    expect(wire.last.headers.get("x-csrf")).toBe("t");
    wire.last.refuse(204);
    await stopped;
    expect(shown().status, "the stream's own end says it").toBe("streaming");
    wire.all[0]?.send(endFrame(1, { status: "cancelled" }));
    await pass();
    expect(shown()).toMatchObject({ status: "cancelled", error: null });

    await stream.stop();
    expect(wire.count, "nothing left to stop").toBe(2);
  });

  it("T25 polls at once after stop", async () => {
    await watch();
    await pass(6_000);
    wire.last.json(snapshot(1, ["Hi"]));
    await pass(100);
    void stream.stop();
    await pass();
    wire.last.refuse(204);
    await pass();
    expect(wire.last.url.searchParams.get("format")).toBe("json");
  });

  it("stops at the application's own address, and says when it is refused", async () => {
    stream = client.stream("/s/a", { stopUrl: "/own/stop" });
    const stopped = stream.stop();
    await pass();
    expect(wire.last.path).toBe("/own/stop");
    wire.last.refuse(403, "cross_site");
    await expect(stopped).rejects.toBeInstanceOf(InkstreamError);
    await expect(stopped).rejects.toMatchObject({ code: "cross_site", http: 403 });
  });

  it("presses Stop again for the user while the server restarts", async () => {
    const stopped = stream.stop();
    await pass();
    wire.last.fail();
    await pass(2_000);
    wire.last.refuse(503);
    await pass(4_000);
    wire.last.refuse(204);
    await stopped;
    expect(wire.count).toBe(3);
  });

  it("does not press for ever", async () => {
    const stopped = stream.stop();
    const told = expect(stopped).rejects.toMatchObject({ code: "unreachable" });
    for (const ms of [2_000, 4_000, 0]) {
      await pass();
      wire.last.fail();
      await pass(ms);
    }
    await told;
    expect(wire.count).toBe(3);
  });
});

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

  it("I8 calls watchers at most once a frame, and at once for the end", async () => {
    await opened();
    calls = 0;
    for (let n = 1; n <= 100; n++) {
      wire.last.send(frame(n, "x"));
      await pass();
    }
    expect(calls).toBeLessThanOrEqual(1);
    await pass(16);
    expect(calls).toBeLessThanOrEqual(2);
    expect(shown().text).toBe("x".repeat(100));
    wire.last.send(frame(101, "y"));
    await pass();
    calls = 0;
    wire.last.send(endFrame(101));
    await pass();
    expect(calls).toBe(1);
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
