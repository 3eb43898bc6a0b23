/** If a proxy delays events, the reader fetches snapshots, as SPEC.md says (T6, T13, T24). */
import { describe, expect, it } from "vitest";
import { createClient } from "../src/index.js";
import { client, setScene, shown, snapshot, use, watch, wire } from "./scene.js";
import { offset, pass } from "./wire.js";

setScene();

describe("a proxy that buffers", () => {
  it.each([
    ["only the body", 3_000],
    ["the headers too", 6_000],
  ])("T13 %s makes the reader fetch snapshots", async (_, ms) => {
    await watch();
    if (ms === 3_000) wire.last.open();
    await pass(ms - 1);
    expect(wire.count).toBe(1);
    await pass(1);
    expect(wire.all[0]?.givenUp).toBe(true);
    expect(wire.last.url.searchParams.get("format")).toBe("json");
    expect(wire.last.headers.get("accept")).toBe("application/json");
    wire.last.json(snapshot(1, ["Hi"]));
    await pass();
    expect(shown().transport).toBe("polling");
  });

  it("T13 counts as buffering only if a snapshot arrives quickly", async () => {
    await watch();
    await pass(6_000);
    expect(wire.last.url.searchParams.get("format")).toBe("json");
    expect(shown().transport, "no snapshot has arrived yet").toBe("events");
    await pass(4_000); // the request waits, for example for a free connection of the browser
    wire.last.json(snapshot(1, ["Hi"]));
    await pass(5_000);
    expect(wire.last.url.searchParams.get("format"), "events again").toBe(null);
  });

  const polling = async (): Promise<void> => {
    await watch();
    wire.last.open();
    await pass(3_000);
  };

  it("T6, T24 polls from the offset until the end, less often without news", async () => {
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

  it("T11 returns to events when polling fails, because the network may be at fault", async () => {
    await polling();
    wire.last.fail();
    await pass(1_000);
    expect(wire.last.url.searchParams.get("format")).toBe(null);
    wire.last.stream("Hi");
    await pass(16);
    expect(shown()).toMatchObject({ text: "Hi", transport: "events" });
  });

  it("T13 waits when polls get no response either", async () => {
    await polling();
    await pass(15_000);
    expect(shown()).toMatchObject({ connection: "waiting", transport: "events" });
  });

  it("T13 counts requests without an answer as failures", async () => {
    await watch();
    for (const wait of [1_000, 2_000, 4_000, 5_000]) {
      await pass(6_000 + 15_000); // the reader waits for events, and then for a snapshot
      expect(shown().connection).toBe("waiting");
      const { count } = wire;
      await pass(wait - 1);
      expect(wire.count, `the wait of ${wait} ms`).toBe(count);
      await pass(1);
      expect(wire.count).toBe(count + 1);
    }
  });

  it("T13 polls if a body cannot be read as it arrives", async () => {
    const bare = new Response(null, { headers: { "content-type": "text/event-stream" } });
    const reading = createClient({
      fetch: (address, init) =>
        address.includes("format=json") ? wire.fetch(address, init) : Promise.resolve(bare),
    });
    use(reading.stream("/s/a"));
    await watch();
    wire.last.json(snapshot(1, ["Hi"]));
    await pass(16);
    expect(shown()).toMatchObject({ text: "Hi", transport: "polling" });
  });

  it("T13 repeats an unanswered POST unless the POST has started the stream", async () => {
    use(client.stream("/s/a", { drive: "/ask" }));
    await watch();
    await pass(14_900);
    expect(wire.count, "an application may answer slowly").toBe(1);
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
    expect(wire.last.method, "the stream was started").toBe("GET");
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
