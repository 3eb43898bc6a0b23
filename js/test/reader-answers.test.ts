/** The reader handles the responses to its requests as SPEC.md's table says (T5–T12). */
import { describe, expect, it, vi } from "vitest";
import { client, opened, setScene, shown, use, watch, wire } from "./scene.js";
import { endFrame, fakePage, frame, offset, pass } from "./wire.js";

setScene();

describe("a response", () => {
  it("T5 opens at the first byte, and stays pending until there is a message", async () => {
    await watch();
    wire.last.open();
    await pass();
    expect(shown().connection).toBe("connecting");
    wire.last.send(": ping\n\n");
    await pass(16);
    expect(shown()).toMatchObject({ connection: "open", status: "pending", transport: "events" });
  });

  it("T7 follows with GET if the driver's POST only started the stream", async () => {
    use(client.stream("/s/a", { drive: "/ask" }));
    await watch();
    wire.last.json({ stream_id: "a" }, 202);
    await pass();
    expect(wire.last).toMatchObject({ method: "GET", path: "/s/a" });
    expect(wire.count).toBe(2);
  });

  it("T7 reads the response to a driver's POST, and resumes with GET", async () => {
    use(client.stream("/s/a", { drive: "/ask?x=1" }));
    await watch();
    expect(wire.last.url.search).toBe("?x=1");
    wire.last.stream("Hel", "lo");
    await pass(16);
    wire.last.fail();
    await pass(1_000);
    expect(wire.last).toMatchObject({ method: "GET", path: "/s/a", from: offset(2) });
  });

  it("repeats the POST after a request without a response (G4)", async () => {
    use(client.stream("/s/a", { drive: "/ask" }));
    await watch();
    wire.last.fail();
    await pass(1_000);
    expect(wire.last).toMatchObject({ method: "POST", path: "/ask" });
  });

  it.each([
    ["a page", 200, "text/html"],
    ["other JSON", 200, "application/json"],
    ["nothing", 204, ""],
  ])("T8 fails on %s in place of a stream", async (_, status, type) => {
    await watch();
    if (type === "application/json") wire.last.json({ hello: 1 });
    else wire.last.refuse(status, undefined, type ? { "content-type": type } : {});
    await pass();
    expect(shown()).toMatchObject({ status: "error", connection: "closed" });
    expect(shown().error).toMatchObject({ code: "unexpected_content", http: status });
  });

  it("T9 waits five seconds for a stream to be committed", async () => {
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

  it("T9 shows the stream once it exists", async () => {
    await watch();
    wire.last.refuse(404, "not_found");
    await pass(250);
    wire.last.stream("Hi");
    await pass(16);
    expect(shown().text).toBe("Hi");
  });

  it("T9, T12 fails on a 404 if the stream existed before", async () => {
    await opened("Hel");
    wire.last.close();
    await pass(1_000);
    wire.last.refuse(404, "not_found");
    await pass();
    expect(shown()).toMatchObject({ status: "error", text: "Hel", error: { http: 404 } });
    expect(wire.count).toBe(2);
  });

  it("T10 discards the text and starts again when the offset is gone (G10)", async () => {
    await opened("old ", { kind: "tool" });
    wire.last.close();
    await pass(1_000);
    wire.last.refuse(410, "offset_gone");
    await pass(16);
    expect(wire.last.from).toBe(null);
    expect(shown()).toMatchObject({ text: "", parts: [], offset: null, status: "pending" });
    expect(shown().resets, "the page learns of the change").toBe(1);
    wire.last.open().send(frame(1, "new", 8) + endFrame(1, undefined, 8));
    await pass(16);
    expect(shown()).toMatchObject({ text: "new", parts: ["new"], status: "done" });
  });

  it("T10, T12 fails on a 410 to a request without an offset", async () => {
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

  it("T11 backs off up to 5 s, and never gives up", async () => {
    await watch();
    const waits: number[] = [];
    for (let n = 0; n < 7; n++) {
      wire.last.fail();
      const since = Date.now();
      const { count } = wire;
      while (wire.count === count) await pass(500);
      waits.push(Date.now() - since);
    }
    expect(waits).toEqual([1_000, 2_000, 4_000, 5_000, 5_000, 5_000, 5_000]);
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

  it("T11, T22 honours Retry-After, despite events of the page", async () => {
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

  it.each(["2200000", "9".repeat(400), "Fri, 31 Dec 9999 23:59:59 GMT"])(
    "T11 waits 300 s if Retry-After is longer than a timer can wait (%#)",
    async (long) => {
      await watch();
      wire.last.refuse(503, "shutting_down", { "retry-after": long });
      await pass(300_000);
      expect(wire.count).toBe(1);
      await pass(1_000);
      expect(wire.count).toBe(2);
    },
  );

  it("T11 uses the server's retry: as the base", async () => {
    await watch();
    wire.last.open().send("retry: 200\n: ping\n\n");
    await pass(16);
    wire.last.close();
    await pass(200);
    expect(wire.count).toBe(2);
  });

  it("T11 tries again when the headers function fails", async () => {
    const headers = vi.fn(async () => ({ authorization: "Bearer t" }));
    headers.mockRejectedValueOnce(new Error("the token endpoint is away"));
    use(client.stream("/s/a", { headers }));
    await watch();
    expect(wire.count).toBe(0);
    await pass(1_000);
    expect(wire.last.headers.get("authorization")).toBe("Bearer t");
  });

  it("I11 calls the headers function before every request, because tokens expire", async () => {
    let token = 0;
    use(client.stream("/s/a", { headers: () => ({ authorization: `Bearer ${++token}` }) }));
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
  ])("T12, I3 fails on %i, and says that the request failed", async (status, code) => {
    await watch();
    wire.last.refuse(status, code);
    await pass(60_000);
    expect(wire.count).toBe(1);
    expect(shown()).toMatchObject({ status: "error", connection: "closed" });
    expect(shown().error).toMatchObject({ code: code ?? `http_${status}`, http: status });
  });
});
