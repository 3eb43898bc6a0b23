/** The reader watches, stops and retries as SPEC.md's table says (T1–T4, T25, T26, T29). */
import { describe, expect, it } from "vitest";
import { createClient, InkstreamError } from "../src/index.js";
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

describe("watching", () => {
  it("T1 makes its first request for the first watcher (I10)", async () => {
    expect(shown()).toMatchObject({ status: "pending", text: "", connection: "connecting" });
    expect(wire.count).toBe(0);
    await watch();
    expect(wire.last).toMatchObject({ method: "GET", path: "/s/a", from: null });
    expect(wire.last.headers.get("accept")).toBe("text/event-stream");
  });

  it("T1 continues from its offset when watched again", async () => {
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

  it("T1 makes no request for a stream that is known to have ended", async () => {
    use(client.stream("/s/a", { initial: { status: "done", text: "all" } }));
    await watch();
    expect(wire.count).toBe(0);
    expect(shown()).toMatchObject({ text: "all", status: "done", connection: "closed" });
  });

  it.each([{ text: "Hel" }, { parts: ["Hel"], offset: null, status: "streaming" as const }])(
    "refuses text without an offset, because it would be shown twice (G2): %o",
    (initial) => {
      expect(() => client.stream("/s/b", { initial })).toThrow("offset");
      expect(client.stream("/s/b", { initial: { text: "", parts: [] } })).toBeDefined();
    },
  );

  it("T1 retries a failed request when a new watcher comes", async () => {
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

  it("T3 starts a stream that is already watched, when the driver comes later", async () => {
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
    stream.subscribe(() => {});
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

describe("stop and disconnect", () => {
  it("T25, I9 stop sends a POST, disconnect does not (G6)", async () => {
    use(client.stream("/s/a?tenant=1", { headers: { "x-csrf": "t" } }));
    await opened("Hel");
    const stopped = stream.stop();
    await pass();
    expect(wire.last).toMatchObject({ method: "POST", path: "/s/a/cancel" });
    expect(wire.last.url.search).toBe("?tenant=1");
    expect(wire.last.headers.get("x-csrf")).toBe("t");
    wire.last.refuse(204);
    await stopped;
    expect(shown().status, "only the end changes the status").toBe("streaming");
    wire.all[0]?.send(endFrame(1, { status: "cancelled" }));
    await pass();
    expect(shown()).toMatchObject({ status: "cancelled", error: null });

    await stream.stop();
    expect(wire.count, "the stream has ended").toBe(2);
  });

  it("T25 polls immediately after stop", async () => {
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

  it("stops at the application's own address, and reports a refusal", async () => {
    use(client.stream("/s/a", { stopUrl: "/own/stop" }));
    const stopped = stream.stop();
    await pass();
    expect(wire.last.path).toBe("/own/stop");
    wire.last.refuse(403, "cross_site");
    await expect(stopped).rejects.toBeInstanceOf(InkstreamError);
    await expect(stopped).rejects.toMatchObject({ code: "cross_site", http: 403 });
  });

  it("repeats Stop while the server restarts", async () => {
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

  it("stores Stop while offline, and sends it when the network is back", async () => {
    const page = fakePage();
    await opened("Hi");
    const stopped = stream.stop();
    await pass();
    for (let n = 0; n < 5; n++) {
      wire.last.fail();
      await pass(5_000);
    }
    expect(shown().stopping).toBe(true);
    wire.last.fail();
    await pass();
    const { count } = wire;
    page.online();
    await pass();
    const post = wire.all.slice(count).find((it) => it.method === "POST");
    post?.refuse(204);
    await stopped;
    expect(shown().stopping, "the end has not arrived").toBe(true);
    wire.last.open().send(endFrame(1, { status: "cancelled" }));
    await pass(16);
    expect(shown()).toMatchObject({ status: "cancelled", stopping: false });
  });

  it("gives up Stop when the stream has ended", async () => {
    await opened("Hi");
    const stopped = stream.stop();
    await pass();
    wire.last.fail();
    wire.all[0]?.send(endFrame(1));
    await pass(2_000);
    await stopped;
    expect(wire.count).toBe(2);
  });

  it("stores Stop over a reload, and sends it with the next stream of the mount", async () => {
    const kept = new Set<string>();
    const stops = {
      keep: (stop: string) => void kept.add(stop),
      drop: (stop: string) => void kept.delete(stop),
      all: () => [...kept],
    };
    kept.add("/s/a/cancel").add("/s/old/cancel").add("/elsewhere/b/cancel");
    use(createClient({ fetch: wire.fetch, stops }).stream("/s/a"));
    expect(wire.count, "no request before a watcher (I10)").toBe(0);
    await watch();
    expect(shown().stopping).toBe(true);
    const posts = wire.all.filter((it) => it.method === "POST");
    expect(posts.map((it) => it.path).sort()).toEqual(["/s/a/cancel", "/s/old/cancel"]);
    for (const post of posts) post.refuse(204);
    await pass();
    expect([...kept]).toEqual(["/elsewhere/b/cancel"]);
  });

  it("T25 fetches the end immediately, also during an older request", async () => {
    await watch();
    wire.last.open();
    await pass(3_000);
    wire.last.json(snapshot(1, ["Hi"]));
    await pass(1_000);
    const poll = wire.last;
    const stopped = stream.stop();
    await pass();
    wire.last.refuse(204);
    await stopped;
    poll.json(snapshot(1, []));
    await pass();
    expect(wire.count).toBe(5);
    wire.last.json(snapshot(1, [], { status: "cancelled" }));
    await pass();
    expect(shown()).toMatchObject({ status: "cancelled", stopping: false });
  });

  it("sends one Stop for two presses", async () => {
    const both = [stream.stop(), stream.stop()];
    await pass();
    wire.last.refuse(204);
    await Promise.all(both);
    expect(wire.count).toBe(1);
  });
});

describe("retry", () => {
  it("T29 repeats a failed request from the offset", async () => {
    await opened("Hel");
    wire.last.close();
    await pass(1_000);
    wire.last.refuse(500);
    await pass();
    expect(shown()).toMatchObject({ status: "error", connection: "closed" });
    stream.retry();
    await pass(16);
    expect(wire.last.from).toBe(offset(1));
    expect(shown()).toMatchObject({ status: "streaming", error: null, connection: "connecting" });
  });

  it("T29 does not wait, unless the server asked for the wait", async () => {
    await watch();
    wire.last.fail();
    await pass();
    stream.retry();
    await pass();
    expect(wire.count).toBe(2);
    wire.last.refuse(503, "shutting_down", { "retry-after": "30" });
    await pass();
    stream.retry();
    await pass();
    expect(wire.count).toBe(2);
  });

  it("T29 does nothing while open, after the end, or without watchers", async () => {
    stream.retry();
    await opened("Hel");
    stream.retry();
    wire.last.send(endFrame(1));
    await pass();
    stream.retry();
    leave();
    stream.retry();
    await pass();
    expect(wire.count).toBe(1);
    expect(shown()).toMatchObject({ status: "done", text: "Hel" });
  });
});
