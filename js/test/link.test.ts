/** Many live streams of one page share one connection. Streams join and leave without a gap. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Client, createClient, type Stream } from "../src/index.js";
import {
  type Exchange,
  fakePage,
  frame,
  endFrame,
  offset,
  pass,
  virtualTime,
  Wire,
} from "./wire.js";

let wire: Wire;
let client: Client;
let mount: string;
let count = 0;
const streams: Stream[] = [];

beforeEach(() => {
  virtualTime();
  fakePage();
  wire = new Wire();
  mount = `/m${count++}`;
  client = createClient({ fetch: wire.fetch });
});
afterEach(async () => {
  for (const stream of streams.splice(0)) stream.disconnect();
  await pass(1_000);
  const left = vi.getTimerCount();
  vi.useRealTimers();
  expect(left, "timers left behind").toBe(0);
});

function watch(...ids: string[]): Stream[] {
  return ids.map((id) => {
    const stream = client.stream(`${mount}/${id}`);
    streams.push(stream);
    stream.subscribe(() => {});
    return stream;
  });
}
/** Watch streams of an unknown mount. The first response offers an address for many streams. */
async function watchMany(...ids: string[]): Promise<Stream[]> {
  const all = watch(...ids);
  await pass();
  expect(wire.all.map((it) => it.method)).toEqual(["GET"]);
  wire.last.open(OFFER);
  await settle();
  expect(wire.all.shift()?.givenUp).toBe(true);
  return all;
}
const OFFER = { "stream-follow": "follow" };
const settle = () => vi.dynamicImportSettled().then(() => pass(60));
const asked = (it: Exchange) => (JSON.parse(String(it.init.body)) as { streams: unknown }).streams;
const named = (id: string) => `event: stream\ndata: ${JSON.stringify({ stream_id: id })}\n\n`;
const of = (id: string, position: number, part: unknown) => named(id) + frame(position, part);
const texts = (all: Stream[]) => all.map((it) => it.getSnapshot().text);
const live = () => wire.all.filter((it) => !it.isOver);

describe("many streams over one request", () => {
  it("share a request, and each gets its own events (G2)", async () => {
    const all = await watchMany("a", "b", "c");
    expect(wire.count).toBe(1);
    expect(wire.last).toMatchObject({ method: "POST", path: `${mount}/follow` });
    expect(asked(wire.last)).toEqual({ a: null, b: null, c: null });
    wire.last.open().send("retry: 1000\n: ping\n\n");
    wire.last.send(of("a", 1, "A") + frame(2, "a") + of("b", 1, "B") + of("a", 3, "!"));
    await pass(16);
    expect(texts(all)).toEqual(["Aa!", "B", ""]);
    wire.last.send(named("a") + endFrame(3) + of("c", 1, "C"));
    await pass(16);
    expect(texts(all)).toEqual(["Aa!", "B", "C"]);
    expect(all[0]?.getSnapshot()).toMatchObject({ status: "done", transport: "events" });
    await pass(1_000);
    expect(wire.count, "the end of one stream changes nothing for the others").toBe(1);
  });

  it("a single stream has its own request, without delay", async () => {
    watch("a");
    await pass();
    expect(wire.last).toMatchObject({ method: "GET", path: `${mount}/a` });
  });

  it("routes that offer nothing get one GET for each stream, and no other request", async () => {
    const all = watch("a", "b", "c");
    await settle();
    expect(wire.count, "the others wait for what the first response offers").toBe(1);
    wire.last.open().send(": ping\n\n" + frame(1, "A"));
    await settle();
    expect(wire.all.map((it) => `${it.method} ${it.path}`)).toEqual(
      ["a", "b", "c"].map((id) => `GET ${mount}/${id}`),
    );
    wire.all[1]?.open().send(": ping\n\n" + frame(1, "B"));
    await pass(16);
    expect(texts(all)).toEqual(["A", "B", ""]);
    expect(wire.all[0]?.givenUp).toBe(false);
  });

  it("a slow first response, or a proxy's refusal, does not delay the other streams", async () => {
    const all = watch("a", "b", "c");
    await pass(450);
    expect(wire.all.map((it) => it.path)).toEqual(["a", "b", "c"].map((id) => `${mount}/${id}`));
    wire.all[1]?.refuse(502);
    await settle();
    expect(live().length, "a refusal without the header is no offer").toBe(2);
    wire.all[0]?.open(OFFER);
    await settle();
    expect(live()).toEqual([wire.last]);
    expect(asked(wire.last)).toEqual({ a: null, b: null, c: null });
    wire.last.open().send(of("c", 1, "C"));
    await pass(16);
    expect(texts(all)).toEqual(["", "", "C"]);
  });

  it("a stream with its own connection joins a second stream, and loses nothing", async () => {
    const all = watch("a");
    await pass();
    wire.last.open({ "stream-follow": "many" }).send(": ping\n\n" + frame(1, "A"));
    await pass(16);
    all.push(...watch("b"));
    await settle();
    expect(live()).toEqual([wire.last]);
    expect(wire.last.path).toBe(`${mount}/many`);
    expect(asked(wire.last)).toEqual({ a: offset(1), b: null });
    wire.last.open().send(of("a", 2, "a") + of("b", 1, "B"));
    await pass(16);
    expect(texts(all)).toEqual(["Aa", "B"]);
  });

  it("join without a gap: the old connection closes when the new connection works", async () => {
    const all = await watchMany("a", "b");
    const first = wire.last.open().send(": ping\n\n" + of("a", 1, "A"));
    await pass(16);
    all.push(...watch("c"));
    await settle();
    expect(wire.count).toBe(2);
    expect(asked(wire.last)).toEqual({ a: offset(1), b: null, c: null });
    first.send(frame(2, "a") + of("b", 1, "B"));
    await pass(16);
    expect(first.givenUp).toBe(false);
    expect(texts(all)).toEqual(["Aa", "B", ""]);
    wire.last.open().send(": ping\n\n" + of("a", 2, "a") + of("b", 1, "B") + of("c", 1, "C"));
    await pass(16);
    expect(first.givenUp).toBe(true);
    expect(texts(all)).toEqual(["Aa", "B", "C"]);
  });

  it("leave together, and the last stream that leaves closes the connection (G6)", async () => {
    const [a, b, c] = (await watchMany("a", "b", "c")) as [Stream, Stream, Stream];
    wire.last.open().send(": ping\n\n" + of("a", 1, "A"));
    await pass(16);
    a.disconnect();
    b.disconnect();
    await settle();
    expect(wire.count).toBe(2);
    expect(asked(wire.last)).toEqual({ c: null });
    wire.last.open().send(": ping\n\n");
    await pass();
    c.disconnect();
    await settle();
    expect(live()).toEqual([]);
  });

  it("a refusal concerns one stream only, and an absent stream is requested again", async () => {
    const all = await watchMany("a", "b");
    const refused = { stream_id: "b", status: 404, code: "not_found" };
    wire.last.open().send(of("a", 1, "A") + `event: refused\ndata: ${JSON.stringify(refused)}\n\n`);
    await pass(300);
    await settle();
    expect(texts(all)).toEqual(["A", ""]);
    expect(all[1]?.getSnapshot().status, "the application may commit it soon").toBe("pending");
    expect(asked(wire.last)).toEqual({ a: offset(1), b: null });
    const no = { ...refused, status: 403, code: "forbidden", detail: "no" };
    wire.last.open().send(`event: refused\ndata: ${JSON.stringify(no)}\n\n`);
    await pass(16);
    expect(all[1]?.getSnapshot()).toMatchObject({
      status: "error",
      error: { http: 403, message: "no" },
    });
    wire.last.send(of("a", 2, "a"));
    await pass(16);
    expect(texts(all)).toEqual(["Aa", ""]);
  });

  it.each([429, 503])("T32, T11 %i for one stream: it is requested again", async (status) => {
    const all = await watchMany("a", "b");
    const busy = JSON.stringify({ stream_id: "b", status, code: "busy" });
    for (let n = 1; n < 4; n++) {
      const before = wire.last.open().send(of("a", n, "A") + `event: refused\ndata: ${busy}\n\n`);
      await pass(16);
      expect(all[1]?.getSnapshot()).toMatchObject({ connection: "waiting", error: null });
      const { count } = wire;
      await pass(1_000 * 2 ** (n - 1) - 100);
      expect(wire.count, "back-off").toBe(count);
      await pass(200);
      expect(asked(wire.last)).toEqual({ a: offset(n), b: null });
      expect(before.givenUp, "a's connection stays").toBe(false);
    }
    wire.last.open().send(of("b", 1, "B"));
    await pass(16);
    expect(texts(all)).toEqual(["AAA", "B"]);
  });

  it("waits as long as the server asks, for one stream alone", async () => {
    const all = await watchMany("a", "b");
    const busy = { stream_id: "b", status: 429, code: "busy", retry_after: "30" };
    wire.last.open().send(of("a", 1, "A") + `event: refused\ndata: ${JSON.stringify(busy)}\n\n`);
    for (let n = 0; n < 3; n++) {
      await pass(9_900);
      wire.last.send(": ping\n\n");
    }
    expect(wire.count).toBe(1);
    await pass(1_500);
    expect(asked(wire.last)).toEqual({ a: offset(1), b: null });
    wire.last.open().send(of("b", 1, "B"));
    await pass(16);
    expect(texts(all)).toEqual(["A", "B"]);
  });

  it("410 for one stream discards the text of this stream only", async () => {
    const old = client.stream(`${mount}/b`, { initial: { offset: offset(9), text: "rewound" } });
    streams.push(old);
    old.subscribe(() => {});
    const [a] = await watchMany("a");
    const gone = JSON.stringify({ stream_id: "b", status: 410, code: "offset_gone" });
    wire.last.open().send(of("a", 1, "A") + `event: refused\ndata: ${gone}\n\n`);
    await pass(16);
    await settle();
    expect(old.getSnapshot()).toMatchObject({ text: "", resets: 1 });
    expect(asked(wire.last)).toEqual({ b: null, a: offset(1) });
    expect(a?.getSnapshot().text).toBe("A");
  });

  it("reconnect together after a cut, each from its own offset", async () => {
    const all = await watchMany("a", "b", "c");
    wire.last.open().send(of("a", 1, "A") + of("b", 4, "B"));
    await pass(16);
    wire.last.fail();
    await pass(1_100);
    await settle();
    expect(wire.count).toBe(2);
    expect(asked(wire.last)).toEqual({ a: offset(1), b: offset(4), c: null });
    wire.last.fail();
    await pass(2_500);
    await settle();
    expect(wire.count).toBe(3);
    wire.last.open().send(of("c", 1, "C"));
    await pass(16);
    expect(texts(all)).toEqual(["A", "B", "C"]);
  });

  it.each([400, 404, 405, 500])(
    "after a %i, each stream of the mount has its own request, whatever the mount offers",
    async (status) => {
      const all = await watchMany("a", "b");
      wire.last.refuse(status);
      await settle();
      const gets = wire.all.slice(1);
      expect(gets.map((it) => `${it.method} ${it.path}`)).toEqual([
        `GET ${mount}/b`,
        `GET ${mount}/a`,
      ]);
      gets.forEach((it, n) => it.open(OFFER).send(": ping\n\n" + frame(1, `${n}`)));
      await pass(16);
      expect(texts(all)).toEqual(["1", "0"]);
      watch("c");
      await settle();
      expect(wire.all.filter((it) => it.method === "POST").length).toBe(1);
    },
  );

  it("after a 503 all readers wait and ask together, and a 401 ends all of them", async () => {
    const all = await watchMany("a", "b");
    wire.last.refuse(503, "store_unavailable", { "retry-after": "2" });
    await pass(2_000);
    expect(wire.count).toBe(1);
    await pass(1_000);
    await settle();
    expect(wire.count).toBe(2);
    wire.last.refuse(401, "unauthorized");
    await pass(16);
    for (const it of all) {
      expect(it.getSnapshot().error).toMatchObject({ http: 401, code: "unauthorized" });
    }
  });

  it("different headers need different connections", async () => {
    const as = (name: string, id: string) => {
      const stream = client.stream(`${mount}/${id}`, { headers: { authorization: name } });
      streams.push(stream);
      stream.subscribe(() => {});
    };
    for (const id of ["a", "b"]) as("one", id);
    for (const id of ["c", "d"]) as("two", id);
    await pass();
    wire.last.open(OFFER);
    await settle();
    expect(wire.all.slice(1).map((it) => [it.headers.get("authorization"), asked(it)])).toEqual([
      ["one", { a: null, b: null }],
      ["two", { c: null, d: null }],
    ]);
  });

  it("65 streams need two requests", async () => {
    await watchMany(...Array.from({ length: 65 }, (_, n) => `s${n}`));
    expect(wire.all.map((it) => Object.keys(asked(it) as object).length)).toEqual([64, 1]);
  });

  it("a silent stream is not taken for lost while another stream gets messages", async () => {
    const all = await watchMany("a", "b");
    wire.last.open().send(": ping\n\n" + of("b", 1, "B"));
    for (let n = 1; n <= 20; n++) {
      wire.last.send(of("a", n, "A"));
      await pass(3_000);
    }
    expect(wire.count).toBe(1);
    expect(texts(all)).toEqual(["A".repeat(20), "B"]);
  });

  it("a silent connection is replaced for all its streams", async () => {
    await watchMany("a", "b");
    wire.last.open().send(": ping\n\n");
    await pass(38_000);
    await pass(1_100);
    await settle();
    expect(wire.count).toBe(2);
    expect(wire.all[0]?.givenUp).toBe(true);
  });
});

describe("without a free connection", () => {
  /** The number of slots that other windows leave free. */
  const locks = { free: 0 };
  beforeEach(() => {
    locks.free = 0;
    vi.stubGlobal("navigator", {
      locks: {
        async request(_: string, __: object, use: (lock: object | null) => Promise<void> | void) {
          if (!locks.free) return use(null);
          locks.free--;
          await use({});
          locks.free++;
        },
      },
    });
  });

  async function pollMany(...ids: string[]): Promise<Stream[]> {
    const all = watch(...ids);
    await pass();
    wire.last.json({ offset: offset(0), parts: [], status: "streaming" }, 200, OFFER);
    await settle();
    await pass(60);
    expect(wire.all.shift()?.path).toBe(`${mount}/${ids[0]}`);
    return all;
  }

  it("one stream reads a snapshot a second, and events when a slot is free", async () => {
    const [a] = watch("a");
    await pass();
    for (let n = 1; n <= 4; n++) {
      expect(wire.count).toBe(n);
      expect(wire.last.url.searchParams.get("format")).toBe("json");
      wire.last.json({ offset: offset(1), parts: n === 1 ? ["Hi"] : [], status: "streaming" });
      await pass(1_000);
    }
    expect(a?.getSnapshot()).toMatchObject({
      text: "Hi",
      transport: "polling",
      connection: "open",
    });
    locks.free = 1;
    wire.last.json({ offset: offset(1), parts: [], status: "streaming" });
    await pass(1_000);
    wire.last.open().send(frame(2, "!"));
    await pass(16);
    expect(a?.getSnapshot()).toMatchObject({ text: "Hi!", transport: "events" });
    expect(locks.free).toBe(0);
    a?.disconnect();
    await pass();
    expect(locks.free).toBe(1);
  });

  it("several streams share one request a second, and events when a slot is free", async () => {
    const all = await pollMany("a", "b", "c");
    for (let n = 1; n <= 3; n++) {
      expect(wire.count).toBe(n);
      expect(wire.last.headers.get("accept")).toBe("application/json");
      const body = (text: string) => ({ offset: offset(n), parts: [text], status: "streaming" });
      wire.last.json({ streams: { a: body("A"), b: body("B"), c: body("C") }, refused: {} });
      await pass(1_200);
    }
    expect(texts(all)).toEqual(["AAA", "BBB", "CCC"]);
    locks.free = 2;
    const same = { offset: offset(3), parts: [], status: "streaming" };
    wire.last.json({ streams: { a: same, b: same, c: same }, refused: {} });
    await pass(1_200);
    await settle();
    expect(wire.last.headers.get("accept")).toBe("text/event-stream");
    expect(asked(wire.last)).toEqual({ a: offset(3), b: offset(3), c: offset(3) });
    expect(locks.free).toBe(1);
  });

  it("a batch refuses one stream alone, and ends another", async () => {
    const all = await pollMany("a", "b");
    wire.last.json({
      streams: { a: { offset: `${offset(1)}.end`, parts: ["A"], status: "done" } },
      refused: { b: { status: 403, code: "forbidden" } },
    });
    await pass(16);
    expect(all[0]?.getSnapshot()).toMatchObject({ status: "done", text: "A" });
    expect(all[1]?.getSnapshot()).toMatchObject({ status: "error", error: { http: 403 } });
    await pass(5_000);
    expect(wire.count).toBe(1);
  });

  it.each([400, 404, 500, 200])(
    "after a %i without a batch, each stream has its own request, as with events",
    async (status) => {
      const all = await pollMany("a", "b");
      wire.last.refuse(status);
      await pass(60);
      expect(wire.all.slice(1).map((it) => `${it.method} ${it.path}`)).toEqual(
        ["b", "a"].map((id) => `GET ${mount}/${id}`),
      );
      for (const it of wire.all.slice(1)) {
        expect(it.url.searchParams.get("format")).toBe("json");
        it.json({ offset: offset(1), parts: ["Hi"], status: "streaming" }, 200, OFFER);
      }
      await pass(16);
      expect(texts(all)).toEqual(["Hi", "Hi"]);
      await pass(3_000);
      expect(wire.all.filter((it) => it.method === "POST").length).toBe(1);
    },
  );

  it("waits as long as a batch asks, for one stream alone", async () => {
    await pollMany("a", "b");
    const same = { offset: offset(1), parts: [], status: "streaming" };
    const busy = { status: 429, code: "busy", retry_after: "30" };
    wire.last.json({ streams: { a: same }, refused: { b: busy } });
    for (let n = 1; n < 25; n++) {
      await pass(1_200);
      expect(wire.last.path, `request ${n}`).toBe(`${mount}/a`);
      wire.last.json(same);
    }
  });

  it("a refusal of the caller ends all readers of a batch", async () => {
    const all = await pollMany("a", "b");
    wire.last.refuse(401, "unauthorized");
    await pass(16);
    for (const it of all) expect(it.getSnapshot().error).toMatchObject({ code: "unauthorized" });
  });

  it("a joining stream uses the connection's slot if no other is free", async () => {
    locks.free = 1;
    const all = await watchMany("a", "b");
    const first = wire.last.open().send(of("a", 1, "A"));
    await pass(16);
    all.push(...watch("c"));
    await settle();
    expect(first.givenUp).toBe(true);
    expect(asked(wire.last)).toEqual({ a: offset(1), b: null, c: null });
    wire.last.open().send(of("a", 2, "a") + of("c", 1, "C"));
    await pass(16);
    expect(texts(all)).toEqual(["Aa", "", "C"]);
    expect(locks.free).toBe(0);
  });
});

it("without Web Locks a page holds two connections", async () => {
  vi.stubGlobal("navigator", {});
  watch("a");
  await pass();
  const elsewhere = ["x", "y"].map((it) => client.stream(`${mount}/deeper/${it}/only`));
  for (const it of elsewhere) {
    streams.push(it);
    it.subscribe(() => {});
  }
  await pass();
  expect(wire.all.map((it) => it.url.searchParams.get("format"))).toEqual([null, null, "json"]);
});
