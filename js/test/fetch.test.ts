/** With `resumingFetch`, a client of server-sent events survives cuts, restarts and restores. */
import { getEventListeners } from "node:events";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { InkstreamError, resumingFetch, type ResumingFetch } from "../src/fetch.js";
import { fakePage, pass, virtualTime, Wire } from "./wire.js";

let wire: Wire;
let kept: Set<string>;
let fetching: ResumingFetch;
const onReset = vi.fn();

beforeEach(() => {
  virtualTime();
  onReset.mockReset();
  wire = new Wire();
  kept = new Set();
  fetching = made();
});
afterEach(() => void vi.useRealTimers());

const made = () =>
  resumingFetch({
    resume: "/chat/1/stream",
    stop: "/chat/1/stop",
    fetch: wire.fetch as typeof fetch,
    onReset,
    stops: {
      keep: (stop) => void kept.add(stop),
      drop: (stop) => void kept.delete(stop),
      all: () => [...kept],
    },
  });

const chunk = (id: number, data: unknown) => `id: c${id}\ndata: ${JSON.stringify(data)}\n\n`;
const LAST = chunk(9, { type: "finish" }) + "data: [DONE]\n\n";

/** Makes a request, and collects the text that the client receives. */
class Page {
  text = "";
  response: Response | undefined;
  error: unknown;
  over = false;
  readonly abort = new AbortController();
  constructor(method = "POST", headers: Record<string, string> = {}) {
    void this.#read(method, headers);
  }
  async #read(method: string, headers: Record<string, string>): Promise<void> {
    try {
      this.response = await fetching("/chat", { method, headers, signal: this.abort.signal });
      const decoder = new TextDecoder();
      for await (const bytes of this.response.body as unknown as AsyncIterable<Uint8Array>) {
        this.text += decoder.decode(bytes, { stream: true });
      }
    } catch (error) {
      this.error = error;
    }
    this.over = true;
  }
}

async function asked(method?: string, headers?: Record<string, string>): Promise<Page> {
  const page = new Page(method, headers);
  await pass();
  return page;
}

describe("resumingFetch", () => {
  it("continues after a cut from the last id, each event once (G2)", async () => {
    const page = await asked("POST", { authorization: "Bearer t", "content-type": "text/x" });
    wire.last.open().send(chunk(1, "a") + chunk(2, "b") + 'id: c3\ndata: "ha');
    await pass();
    expect(page.text, "half an event is not forwarded").toBe(chunk(1, "a") + chunk(2, "b"));
    wire.last.fail();
    await pass(1_000);
    expect(wire.last).toMatchObject({ method: "GET", path: "/chat/1/stream" });
    expect(Object.fromEntries(wire.last.headers)).toEqual({
      authorization: "Bearer t",
      accept: "text/event-stream",
      "last-event-id": "c2",
    });
    wire.last.open().send(chunk(3, "half") + LAST);
    wire.last.close();
    await pass();
    expect(page).toMatchObject({ over: true, error: undefined });
    expect(page.text).toBe(chunk(1, "a") + chunk(2, "b") + chunk(3, "half") + LAST);
  });

  it.each(["a clean end", "a lost connection"])(
    "makes no request after the last event and %s",
    async (how) => {
      const page = await asked();
      wire.last.open().send(chunk(1, "a") + LAST);
      await pass();
      if (how === "a clean end") wire.last.close();
      else wire.last.fail();
      await pass(60_000);
      expect(page).toMatchObject({ over: true, error: undefined });
      expect(wire.count).toBe(1);
    },
  );

  it("treats a clean end without a last event as a cut (G5)", async () => {
    const page = await asked();
    wire.last.open().send(chunk(1, { type: "x", input: { type: "finish" } }));
    wire.last.close();
    await pass(1_000);
    expect(page.over).toBe(false);
    wire.last.refuse(204);
    await pass();
    expect(page).toMatchObject({ over: true, error: undefined });
  });

  it("continues after a restart of the server (G2)", async () => {
    const page = await asked();
    wire.last.open().send(chunk(1, "a"));
    await pass();
    wire.last.fail();
    for (let n = 0; n < 8; n++) {
      await pass(5_000);
      if (n % 2) wire.last.refuse(502);
      else wire.last.fail();
    }
    await pass(5_000);
    expect(wire.last.headers.get("last-event-id")).toBe("c1");
    wire.last.open().send(chunk(2, { type: "error", errorText: "shutdown" }));
    wire.last.close();
    await pass();
    expect(page).toMatchObject({ over: true, error: undefined });
  });

  it("keeps the wait that the server asked for, despite events of the page", async () => {
    const tab = fakePage();
    await asked();
    wire.last.open().send(chunk(1, "a"));
    await pass();
    wire.last.fail();
    await pass(1_000);
    wire.last.refuse(503, "shutting_down", { "retry-after": "30" });
    await pass();
    tab.online();
    await pass(29_000);
    expect(wire.count).toBe(2);
    await pass(5_000);
    expect(wire.count).toBe(3);
  });

  it("makes a request when the network is back, and drops the dead connection", async () => {
    const tab = fakePage();
    const page = await asked();
    wire.last.open().send(chunk(1, "a"));
    await pass();
    tab.online();
    await pass(1_000);
    expect(wire.all[0]?.givenUp).toBe(true);
    wire.last.fail();
    await pass();
    tab.online();
    await pass();
    expect(wire.count).toBe(3);
    wire.last.open().send(LAST);
    wire.last.close();
    await pass();
    expect(page.over).toBe(true);
  });

  it("repeats its request after silence", async () => {
    await asked();
    wire.last.open().send(chunk(1, "a"));
    await pass(38_500);
    expect(wire.count).toBe(2);
  });

  it.each([410, 204])(
    "after a %i, reports that the stored text has changed, and mixes nothing",
    async (status) => {
      const page = await asked();
      wire.last.open().send(chunk(1, "a"));
      await pass();
      wire.last.fail();
      await pass(1_000);
      wire.last.refuse(status);
      await pass(60_000);
      expect(page.text).toBe(chunk(1, "a"));
      expect(page.error).toMatchObject({ code: "offset_gone" });
      expect(String(page.error), "AI SDK 6 takes these words for a lost connection").not.toMatch(
        /fetch|network/i,
      );
      expect(onReset).toHaveBeenCalledTimes(1);
      expect(wire.count).toBe(2);
    },
  );

  it("ends on a refusal, with its code", async () => {
    const page = await asked();
    wire.last.open().send(chunk(1, "a"));
    await pass();
    wire.last.fail();
    await pass(1_000);
    wire.last.refuse(401, "unauthorized");
    await pass(60_000);
    expect(page.error).toBeInstanceOf(InkstreamError);
    expect(page.error).toMatchObject({ code: "unauthorized", http: 401 });
  });

  it("never doubles an answer without ids", async () => {
    const page = await asked();
    wire.last.open().send('data: "a"\n\n');
    await pass();
    wire.last.fail();
    await pass(60_000);
    expect(page.error).toBeInstanceOf(TypeError);
    expect(wire.count).toBe(1);
  });

  it.each(["silence", "a change of the network"])(
    "an answer without ids ends with an Error after %s",
    async (how) => {
      const tab = fakePage();
      const page = await asked();
      wire.last.open().send('data: "a"\n\n');
      await pass();
      if (how === "silence") await pass(38_000);
      else tab.online();
      await pass();
      expect(page.error, "AI SDK calls onError only for an Error").toBeInstanceOf(TypeError);
      expect(String(page.error), "AI SDK takes this word for a lost connection").toMatch(/network/);
      expect(wire.count).toBe(1);
      expect(getEventListeners(window, "online"), "the answer is over").toEqual([]);
    },
  );

  it.each([204, 404])("passes a %i on unchanged, because nothing can continue", async (status) => {
    const page = await asked("GET");
    wire.last.refuse(status);
    await pass();
    expect(page.response?.status).toBe(status);
  });

  it("throws the error of a failed first request, and does not repeat the request", async () => {
    const page = await asked();
    wire.last.fail();
    await pass(60_000);
    expect(page.error).toBeInstanceOf(TypeError);
    expect(wire.count, "a question is not asked twice").toBe(1);
  });

  it("an abort ends the response, also during a wait, and sends no Stop (G6)", async () => {
    const open = await asked();
    wire.last.open().send(chunk(1, "a"));
    await pass();
    open.abort.abort();
    await pass(60_000);
    expect(open.error).toMatchObject({ name: "AbortError" });
    const waiting = await asked();
    wire.last.open().send(chunk(1, "a"));
    await pass();
    wire.last.fail();
    await pass();
    waiting.abort.abort();
    await pass(60_000);
    expect(waiting.error).toMatchObject({ name: "AbortError" });
    expect(wire.all.map((it) => it.path)).toEqual(["/chat", "/chat"]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("stores Stop while offline, and delivers it", async () => {
    const page = await asked();
    wire.last.open().send(chunk(1, "a"));
    await pass();
    const stopped = fetching.stop();
    await pass();
    for (let n = 0; n < 6; n++) {
      expect(wire.last).toMatchObject({ method: "POST", path: "/chat/1/stop" });
      wire.last.fail();
      await pass(5_000);
    }
    expect(kept.size).toBe(1);
    wire.last.refuse(204);
    await stopped;
    expect(kept.size).toBe(0);
    page.abort.abort();
  });

  it("delivers a stored Stop after a reload, before the next question", async () => {
    kept.add('/chat/1/stop {"stream_id":"old"}');
    kept.add("/chat/12/stop {}");
    fetching = made();
    const page = await asked("POST");
    expect(wire.last).toMatchObject({ path: "/chat/1/stop" });
    expect(wire.last.init.body).toBe('{"stream_id":"old"}');
    wire.last.refuse(204);
    await pass();
    expect(wire.last.path).toBe("/chat");
    expect([...kept]).toEqual(["/chat/12/stop {}"]);
    page.abort.abort();
  });
});
