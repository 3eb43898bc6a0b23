/** The reader handles events of the page as SPEC.md's table says (T22, T23, T27, T28). */
import { describe, expect, it } from "vitest";
import {
  client,
  leave,
  opened,
  setScene,
  shown,
  snapshot,
  stream,
  use,
  watch,
  wire,
} from "./scene.js";
import { endFrame, fakePage, frame, offset, pass } from "./wire.js";

setScene();

describe("a page that wakes", () => {
  it.each(["online", "pageshow"] as const)("T22 %s replaces the connection", async (kind) => {
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

  it.each(["online", "visible"] as const)("T22, T23 %s ends the back-off", async (kind) => {
    const page = fakePage();
    await watch(client.stream("/s/a", { background: true }));
    for (let n = 0; n < 4; n++) {
      wire.last.fail();
      await pass(5_000);
    }
    wire.last.fail();
    await pass();
    const { count } = wire;
    page.visible("hidden");
    await pass();
    expect(wire.count).toBe(count);
    if (kind === "online") page.online();
    else page.visible("visible");
    await pass();
    expect(wire.count).toBe(count + 1);
    wire.last.fail();
    await pass(1_000);
    expect(wire.count, "the back-off begins again").toBe(count + 2);
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

  it("T23 becoming visible replaces only a silent connection", async () => {
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

  it("ignores page events when nobody watches", async () => {
    const page = fakePage();
    await opened("Hel");
    leave();
    await pass();
    page.online();
    await pass(60_000);
    expect(wire.count).toBe(1);
  });
});

describe("a hidden page", () => {
  it("T27 closes its connection, and catches up when visible again (G2)", async () => {
    const page = fakePage();
    await opened("Hel");
    page.visible("hidden");
    await pass(16);
    expect(wire.last.givenUp).toBe(true);
    expect(shown()).toMatchObject({ connection: "closed", status: "streaming", text: "Hel" });
    await pass(3_600_000);
    expect(wire.count, "a hidden page makes no request").toBe(1);
    page.visible("visible");
    await pass(16);
    expect(wire.last.from).toBe(offset(1));
    expect(shown().connection).toBe("connecting");
    wire.last.open().send(frame(2, "lo") + endFrame(2));
    await pass(16);
    expect(shown()).toMatchObject({ status: "done", text: "Hello" });
  });

  it("T27 makes no request when opened in the background", async () => {
    const page = fakePage();
    page.visible("hidden");
    await watch();
    page.online();
    await pass(60_000);
    expect(wire.count).toBe(0);
    page.visible("visible");
    await pass();
    expect(wire.count).toBe(1);
  });

  it("T27 starts the stream that it must start, and then disconnects", async () => {
    const page = fakePage();
    use(client.stream("/s/a", { drive: "/ask" }));
    await watch();
    page.visible("hidden");
    await pass();
    expect(wire.last.givenUp, "the server may not have read the POST").toBe(false);
    wire.last.fail();
    await pass(1_000);
    expect(wire.last).toMatchObject({ method: "POST", path: "/ask" });
    wire.last.stream("Hi");
    await pass(16);
    expect(wire.last.givenUp).toBe(true);
    expect(wire.count).toBe(2);
    page.visible("visible");
    await pass();
    expect(wire.last).toMatchObject({ method: "GET", path: "/s/a" });
  });

  it("T27 stops polling", async () => {
    const page = fakePage();
    await watch();
    await pass(6_000);
    wire.last.json(snapshot(1, ["Hi"]));
    await pass(16);
    page.visible("hidden");
    await pass(60_000);
    expect(wire.count).toBe(2);
    expect(shown()).toMatchObject({ connection: "closed", text: "Hi" });
    page.visible("visible");
    await pass();
    expect(wire.last.from).toBe(offset(1));
  });

  it("T27 keeps to Retry-After when the page is hidden and shown again", async () => {
    const page = fakePage();
    await watch();
    wire.last.refuse(503, "shutting_down", { "retry-after": "30" });
    await pass();
    page.visible("hidden");
    page.visible("visible");
    await pass(29_000);
    expect(wire.count).toBe(1);
    page.visible("hidden");
    await pass(60_000);
    expect(wire.count).toBe(1);
    page.visible("visible");
    await pass();
    expect(wire.count).toBe(2);
  });

  it("T27 still stops the answer, and drops unwatched streams (G6)", async () => {
    const page = fakePage();
    await opened("Hel");
    page.visible("hidden");
    await pass();
    const stopped = stream.stop();
    await pass();
    expect(wire.last).toMatchObject({ method: "POST", path: "/s/a/cancel" });
    wire.last.refuse(204);
    await stopped;
    leave();
    await pass();
    page.visible("visible");
    await pass(60_000);
    expect(wire.count).toBe(2);
  });

  it("T28 follows with `background`, also if it is set later", async () => {
    const page = fakePage();
    await opened("Hel");
    page.visible("hidden");
    await watch(client.stream("/s/a", { background: true }));
    expect(wire.last.from).toBe(offset(1));
    page.visible("visible");
    page.visible("hidden");
    wire.last.open().send(frame(2, "lo") + endFrame(2));
    await pass(16);
    expect(wire.count).toBe(2);
    expect(shown()).toMatchObject({ status: "done", text: "Hello" });
  });
});
