/** The tests use the client as an application does, over real HTTP. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Client, createClient, InkstreamError, type Part, type Stream } from "../src/index.js";
import { FakeServer } from "./fake-server.js";
import { endFrame, frame, Wire } from "./wire.js";

let server: FakeServer;
let base: string;
let client: Client;

beforeEach(async () => {
  server = new FakeServer();
  base = await server.listen();
  client = createClient();
});
afterEach(() => server.close());

/** Resolve when `is` returns true for the stream's snapshot. */
const until = (stream: Stream, is: (snapshot: ReturnType<Stream["getSnapshot"]>) => boolean) =>
  new Promise<void>((resolve) => {
    const leave = stream.subscribe(() => check());
    const check = () => {
      if (!is(stream.getSnapshot())) return;
      queueMicrotask(() => leave());
      resolve();
    };
    check();
  });
const collect = async (stream: AsyncIterable<Part>): Promise<Part[]> => {
  const parts: Part[] = [];
  for await (const part of stream) parts.push(part);
  return parts;
};
const text = (parts: Part[]) => parts.filter((it) => typeof it === "string").join("");

describe("following", () => {
  it("G2: continues across cut connections, without gap or duplicate", async () => {
    const source = server.create("a");
    const stream = client.stream(`${base}/a`);
    const all = collect(stream);
    for (let n = 0; n < 5; n++) {
      source.append(`${n}🌊\r\n\0`);
      await until(stream, (it) => it.text.includes(`${n}🌊`));
      server.cut();
    }
    source.end();
    const expected = [0, 1, 2, 3, 4].map((n) => `${n}🌊\r\n\0`).join("");
    expect(text(await all)).toBe(expected);
    expect(stream.getSnapshot()).toMatchObject({ text: expected, status: "done" });
    expect(server.requests.filter((it) => it.includes("offset=")).length).toBeGreaterThan(2);
  });

  it("G5: survives a proxy that answers 502 while the server restarts", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0.02);
    const source = server.create("a");
    const stream = client.stream(`${base}/a`);
    const all = collect(stream);
    source.append("before ");
    await until(stream, (it) => it.text === "before ");
    server.down = 502;
    server.cut();
    await until(stream, (it) => it.connection === "waiting");
    source.append("after");
    source.end();
    server.down = undefined;
    expect(text(await all)).toBe("before after");
  });

  it("replaces the text when the stream was deleted and created again (G10)", async () => {
    server.create("a").append("the old text");
    const stream = client.stream(`${base}/a`);
    await until(stream, (it) => it.text === "the old text");
    const source = server.create("a");
    server.cut();
    source.append("new");
    source.end();
    await until(stream, (it) => it.status === "done");
    expect(stream.getSnapshot().text).toBe("new");
  });

  it("shows a buffered stream by polling", { timeout: 20_000 }, async () => {
    server.buffering = true;
    const source = server.create("a");
    source.append("early ");
    const stream = client.stream(`${base}/a`);
    const all = collect(stream);
    await until(stream, (it) => it.text === "early ");
    expect(stream.getSnapshot().transport).toBe("polling");
    source.append("late");
    source.end();
    expect(text(await all)).toBe("early late");
  });

  it("waits for a stream that is committed a moment later", async () => {
    const stream = client.stream(`${base}/a`);
    const all = collect(stream);
    await until(stream, (it) => it.connection === "waiting");
    server.create("a").end();
    expect(await all).toEqual([]);
  });

  it("G4: many drivers of one stream make one connection and one start", async () => {
    const source = server.create("a");
    const drive = `${base}/a`;
    const three = [1, 2, 3].map(() => client.stream(drive, { drive }));
    const all = Promise.all(three.map(collect));
    source.append("Hello");
    await until(three[0] as Stream, (it) => it.text === "Hello");
    source.end();
    expect((await all).map(text)).toEqual(["Hello", "Hello", "Hello"]);
    expect(server.requests).toEqual(["POST /a"]);
  });

  it("leaving does not stop the answer, and another client can stop it (G6)", async () => {
    const source = server.create("a");
    source.append("Hel");
    const here = client.stream(`${base}/a`);
    await until(here, (it) => it.text === "Hel");
    const there = createClient().stream(`${base}/a`);
    here.disconnect();
    expect(source.ending).toBe(undefined);
    await there.stop();
    await until(here, (it) => it.status === "cancelled");
  });

  it("starts after the page's own text", async () => {
    const source = server.create("a");
    source.append("Hello ");
    const first = client.stream(`${base}/a`);
    await until(first, (it) => it.text === "Hello ");
    const { offset, parts } = first.getSnapshot();
    source.append("world");
    source.end();
    const resumed = createClient().stream(`${base}/a`, { initial: { offset, parts } });
    await until(resumed, (it) => it.status === "done");
    expect(resumed.getSnapshot().text).toBe("Hello world");
    expect(server.requests.at(-1)).toBe(`GET /a?offset=${offset}`);
  });
});

describe("iterating", () => {
  it("yields structured parts between the text", async () => {
    const source = server.create("a");
    source.append("a", "b", { type: "tool" }, "c");
    source.end();
    expect(await collect(client.stream(`${base}/a`))).toEqual(["ab", { type: "tool" }, "c"]);
  });

  it("begins with the text that a shared reader already has", async () => {
    const source = server.create("a");
    source.append("a", { type: "tool" });
    const stream = client.stream(`${base}/a`);
    await until(stream, (it) => it.parts.length === 2);
    const later = collect(client.stream(`${base}/a`));
    source.append("b");
    source.end();
    expect(await later).toEqual(["a", { type: "tool" }, "b"]);
  });

  it.each([
    ["error", "overloaded"],
    ["cancelled", null],
    ["timeout", null],
  ])("throws on %s, so that an incomplete text never looks complete (G5)", async (status, code) => {
    const source = server.create("a");
    source.append("half");
    source.end({ status, code });
    const seen: Part[] = [];
    const loop = (async () => {
      for await (const part of client.stream(`${base}/a`)) seen.push(part);
    })();
    await expect(loop).rejects.toBeInstanceOf(InkstreamError);
    await expect(loop).rejects.toMatchObject({
      code: code ?? (status === "timeout" ? null : status),
    });
    expect(seen).toEqual(["half"]);
  });

  it("throws when the yielded text belonged to another stream", async () => {
    server.create("a").append("old");
    const stream = client.stream(`${base}/a`);
    const all = collect(stream);
    await until(stream, (it) => it.text === "old");
    server.create("a").append("new");
    server.cut();
    await expect(all).rejects.toMatchObject({ code: "offset_gone" });
  });

  it("closes the connection when the loop is left, or after disconnect", async () => {
    const wire = new Wire();
    const other = createClient({ fetch: wire.fetch });
    const left = (async () => {
      for await (const part of other.stream("/a")) return part;
      return undefined;
    })();
    await vi.waitFor(() => expect(wire.count).toBe(1));
    wire.last.stream("first");
    expect(await left).toBe("first");
    await vi.waitFor(() => expect(wire.last.givenUp).toBe(true));

    const stream = other.stream("/b");
    const ended = collect(stream);
    await vi.waitFor(() => expect(wire.count).toBe(2));
    wire.last.stream("first");
    await vi.waitFor(() => expect(stream.getSnapshot().text).toBe("first"));
    stream.disconnect();
    await expect(ended, "an incomplete answer never looks complete (G5)").rejects.toMatchObject({
      code: "disconnected",
    });
    await vi.waitFor(() => expect(wire.last.givenUp).toBe(true));
  });
});

describe("a client's options", () => {
  it("apply to every request, and a stream's headers override them", async () => {
    const wire = new Wire();
    const other = createClient({
      fetch: wire.fetch,
      credentials: "include",
      headers: { "x-tenant": "1", authorization: "none" },
    });
    const stream = other.stream("/a", { headers: async () => ({ authorization: "Bearer t" }) });
    const leave = stream.subscribe(() => {});
    await vi.waitFor(() => expect(wire.count).toBe(1));
    expect(wire.last.init).toMatchObject({ credentials: "include", cache: "no-store" });
    expect(Object.fromEntries(wire.last.headers)).toEqual({
      accept: "text/event-stream",
      "x-tenant": "1",
      authorization: "Bearer t",
    });
    leave();
  });

  it("a token costs the same in a long text as in a short one", async () => {
    const tokens = 20_000;
    const wire = new Wire();
    const stream = createClient({ fetch: wire.fetch }).stream("/a");
    const ended = until(stream, (it) => it.status === "done");
    await vi.waitFor(() => expect(wire.count).toBe(1));
    wire.last.stream();
    const started = performance.now();
    for (let n = 1; n <= tokens; n++) wire.last.send(frame(n, "token "));
    wire.last.send(endFrame(tokens));
    await ended;
    expect(stream.getSnapshot().text.length).toBe(6 * tokens);
    expect(performance.now() - started).toBeLessThan(5_000);
  });
});
