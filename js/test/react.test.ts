/** `useStream` as components use it; the same file runs against React 19 and 18.3. */
import { act, createElement as h, StrictMode, useState, version, type ReactNode } from "react";
import { createRoot, hydrateRoot, type Root } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createClient, type Snapshot } from "../src/index.js";
import { InkstreamProvider, useStream, type UseStreamOptions } from "../src/react.js";
import { endFrame, frame, offset, Wire } from "./wire.js";

let wire: Wire;
let host: HTMLElement;
let root: Root;
let renders: number;
let latest: ReturnType<typeof useStream>;

beforeEach(() => {
  vi.spyOn(Math, "random").mockReturnValue(0.01);
  wire = new Wire();
  vi.stubGlobal("fetch", wire.fetch); // the default client uses the global fetch
  host = document.createElement("div");
  root = createRoot(host);
  renders = 0;
});
afterEach(async () => {
  await acting(() => root.unmount());
  await vi.waitFor(() => expect(wire.all.every((it) => it.isOver)).toBe(true));
});

type Options = Partial<UseStreamOptions>;

/** Shows a stream; its options are written inline, so that each render has new objects. */
function Message(props: { id?: string | null | undefined; options?: Options }): ReactNode {
  renders++;
  latest = useStream(props.id, {
    url: new URL("http://test.invalid/streams"),
    headers: () => ({ "x-inline": "1" }),
    ...props.options,
  });
  return h("p", { id: latest.status }, latest.text);
}

/** Run code that renders, and the effects of this render. Later renders need no `acting`. */
const acting = async <T>(work: () => T): Promise<T> => {
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
  try {
    return await act(async () => work());
  } finally {
    vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", false);
  }
};
const render = (node: ReactNode) => acting(() => root.render(node));
const message = (id?: string | null, options?: Options) =>
  h(Message, { id, options: options ?? {} });
const shows = (text: string) => vi.waitFor(() => expect(latest.text).toBe(text), { interval: 5 });

it("runs against the configured version of React", ({ task }) => {
  const project = task.file.projectName ?? "";
  expect(version.startsWith(project === "react 18" ? "18.3." : "19.")).toBe(true);
});

describe("useStream", () => {
  it("shows the text as it arrives, and how it ended", async () => {
    await render(message("a"));
    expect(latest).toMatchObject({ text: "", status: "pending", error: null, parts: [] });
    expect(wire.last.path).toBe("/streams/a");
    wire.last.stream("Hel", { type: "tool" });
    await shows("Hel");
    wire.last.send(frame(3, "lo") + endFrame(3, { status: "done", result: { tokens: 2 } }));
    await shows("Hello");
    expect(latest).toMatchObject({
      status: "done",
      parts: ["Hel", { type: "tool" }, "lo"],
      result: { tokens: 2 },
    });
    expect(host.innerHTML).toBe('<p id="done">Hello</p>');
  });

  it("folds reasoning and tool calls into a message, deltas joined", async () => {
    await render(message("a"));
    wire.last.stream(
      { type: "reasoning-start", id: "r" },
      { type: "reasoning-delta", id: "r", delta: "hm" },
      { type: "reasoning-delta", id: "r", delta: "m" },
      "So",
    );
    await shows("So");
    expect(latest.parts[1]).toEqual({ type: "reasoning-delta", id: "r", delta: "hmm" });
    const reasoning = { type: "reasoning", id: "r", text: "hmm" };
    expect(latest.message.parts).toEqual([
      { ...reasoning, state: "streaming" },
      { type: "text", text: "So", state: "streaming" },
    ]);
    const before = latest.message;
    wire.last.send(endFrame(4));
    await vi.waitFor(() => expect(latest.status).toBe("done"));
    expect(before.parts[0], "the rendered message does not change").toMatchObject({
      state: "streaming",
    });
    expect(latest.message.parts[0]).toEqual({ ...reasoning, state: "done" });
  });

  it("mounted twice by StrictMode, it makes one request and continues", async () => {
    await render(h(StrictMode, null, message("a", { drive: new URL("http://test.invalid/ask") })));
    expect(wire.count).toBe(1);
    expect(wire.last.givenUp).toBe(false);
    wire.last.stream("Hello");
    await shows("Hello");
  });

  it("rendered again with inline options, it makes no request", async () => {
    await render(message("a"));
    for (let n = 0; n < 5; n++) await render(message("a"));
    expect(wire.count).toBe(1);
  });

  it("starts the stream by a POST with the stream's id and the token", async () => {
    await render(message("a", { drive: "http://test.invalid/ask", authToken: "t" }));
    expect(wire.last).toMatchObject({ method: "POST", path: "/ask" });
    expect(wire.last.init.body).toBe('{"stream_id":"a"}');
    expect(wire.last.headers.get("authorization")).toBe("Bearer t");
    expect(wire.last.headers.get("x-inline")).toBe("1");
    wire.last.stream("Hi");
    await shows("Hi");
    await render(message("a")); // the component no longer has `drive`, but the connection stays
    expect(wire.count).toBe(1);
  });

  it("makes no request until there is an id", async () => {
    await render(message(undefined));
    expect(latest).toMatchObject({ text: "", status: "pending", connection: "closed" });
    await latest.stop();
    await render(message(null));
    expect(wire.count).toBe(0);
    await render(message("a"));
    expect(wire.last.path).toBe("/streams/a");
  });

  it("changes the stream with the id, and never mixes the texts of two streams", async () => {
    await render(message("a"));
    wire.last.stream("text of a");
    await shows("text of a");
    await render(message("b"));
    expect(latest).toMatchObject({ text: "", status: "pending" });
    expect(wire.all[0]?.givenUp).toBe(true);
    expect(wire.last.path).toBe("/streams/b");
    wire.last.stream("text of b");
    await shows("text of b");
    await render(message(undefined));
    expect(latest.text).toBe("");
  });

  it("streams of one mount share a connection, if the server supports it", async () => {
    await render(
      h(
        "div",
        null,
        // The client remembers what a mount offers, so this test uses a mount of its own.
        ["a", "b", "a"].map((id, key) => h(Message, { id, key, options: { url: "/many" } })),
      ),
    );
    await vi.waitFor(() => expect(wire.last.path).toBe("/many/a"));
    wire.last.open({ "stream-follow": "follow" });
    await vi.waitFor(() => expect(wire.last.path).toBe("/many/follow"));
    expect(JSON.parse(String(wire.last.init.body))).toEqual({ streams: { a: null, b: null } });
    wire.last.refuse(405);
    await vi.waitFor(() => expect(wire.count).toBe(4));
    expect(wire.all.slice(2).map((it) => it.path)).toEqual(["/many/b", "/many/a"]);
    wire.all[3]?.stream("A");
    wire.all[2]?.stream("B");
    await vi.waitFor(() => expect(host.textContent).toBe("ABA"));
  });

  it("unmounting stops watching, not the answer (G6)", async () => {
    await render(message("a"));
    await render(null);
    await vi.waitFor(() => expect(wire.last.givenUp).toBe(true));
    expect(wire.all.map((it) => it.method)).toEqual(["GET"]);
  });

  it("closes its connection while the page is hidden, unless `background` is set", async () => {
    const see = (state: DocumentVisibilityState) => {
      vi.spyOn(document, "visibilityState", "get").mockReturnValue(state);
      document.dispatchEvent(new Event("visibilitychange"));
    };
    await render(message("a"));
    wire.last.stream("Hel");
    await shows("Hel");
    see("hidden");
    await vi.waitFor(() => expect(latest.connection).toBe("closed"));
    expect(wire.last.givenUp).toBe(true);
    expect(latest).toMatchObject({ text: "Hel", status: "streaming" });
    await render(message("a", { background: true }));
    expect(wire.count).toBe(2);
    expect(wire.last.from).toBe(offset(1));
    wire.last.open().send(frame(2, "lo"));
    await shows("Hello");
    await render(message("a", { background: false }));
    see("visible");
    see("hidden");
    await vi.waitFor(() => expect(wire.last.givenUp).toBe(true));
    see("visible");
    await vi.waitFor(() => expect(wire.count).toBe(3));
    wire.last.open().send(frame(3, "!"));
    await shows("Hello!");
  });

  it("stop sends a POST, also to the application's own address", async () => {
    await render(message("a"));
    const { stop } = latest;
    await render(message("a"));
    expect(latest.stop, "stop is the same function").toBe(stop);
    void stop();
    await vi.waitFor(() => expect(wire.last.path).toBe("/streams/a/cancel"));
    wire.last.refuse(204);
    await render(message("a", { stopUrl: "http://test.invalid/own" }));
    void latest.stop();
    await vi.waitFor(() => expect(wire.last.path).toBe("/own"));
    wire.last.refuse(204);
  });

  it("calls onReset when the text is read again, and shows a stored Stop", async () => {
    const onReset = vi.fn();
    const options = { onReset, initial: { offset: offset(3), text: "before the restore" } };
    await render(h(StrictMode, null, message("a", options)));
    wire.last.refuse(410, "offset_gone");
    await vi.waitFor(() => expect(wire.count).toBe(2));
    wire.last.stream("after it");
    await shows("after it");
    expect(onReset).toHaveBeenCalledTimes(1);
    void latest.stop();
    await vi.waitFor(() => expect(latest.stopping).toBe(true));
    wire.last.refuse(204);
    wire.all[1]?.send(endFrame(1, { status: "cancelled" }));
    await vi.waitFor(() => expect(latest).toMatchObject({ stopping: false, status: "cancelled" }));
  });

  it("calls the latest onEnd once, also under StrictMode", async () => {
    const stale = vi.fn();
    const onEnd = vi.fn<(snapshot: Snapshot) => void>();
    await render(h(StrictMode, null, message("a", { onEnd: stale })));
    await render(h(StrictMode, null, message("a", { onEnd: (it) => onEnd(it) })));
    wire.last.stream("Hi").send(endFrame(1));
    await shows("Hi");
    await render(h(StrictMode, null, message("a", { onEnd: (it) => onEnd(it) })));
    expect(onEnd).toHaveBeenCalledTimes(1);
    expect(onEnd.mock.calls[0]?.[0]).toMatchObject({ status: "done", text: "Hi" });
    expect(stale).not.toHaveBeenCalled();
  });

  it("calls onEnd once for an earlier end, also under StrictMode", async () => {
    const onEnd = vi.fn();
    const initial = { status: "done", text: "all" } as const;
    await render(h(StrictMode, null, message("a", { initial, onEnd })));
    expect(onEnd).toHaveBeenCalledTimes(1);
  });

  it("shows a refusal as an error without onEnd, and retries with a new token", async () => {
    const onEnd = vi.fn();
    await render(message("a", { authToken: "old", onEnd }));
    wire.last.refuse(401, "unauthorized");
    await vi.waitFor(() => expect(latest.error?.http).toBe(401));
    expect(onEnd).not.toHaveBeenCalled();
    await render(message("a", { authToken: "new", onEnd }));
    expect(wire.last.headers.get("authorization")).toBe("Bearer new");
    wire.last.stream("Hi");
    await shows("Hi");
    expect(latest).toMatchObject({ error: null, status: "streaming" });
  });

  it("retry repeats a failed request", async () => {
    await render(message("a"));
    wire.last.refuse(500);
    await vi.waitFor(() => expect(latest.error?.http).toBe(500));
    await acting(() => latest.retry());
    expect(wire.count).toBe(2);
    wire.last.stream("Hi");
    await shows("Hi");
    expect(latest.error).toBe(null);
  });

  it("uses a new token in the next request, without a new connection", async () => {
    await render(message("a", { authToken: "old" }));
    wire.last.stream("Hel");
    await shows("Hel");
    await render(message("a", { authToken: "new" }));
    expect(wire.count).toBe(1);
    wire.last.close();
    await vi.waitFor(() => expect(wire.count).toBe(2));
    expect(wire.last.headers.get("authorization")).toBe("Bearer new");
    expect(wire.last.from).toBe(offset(1));
  });

  it("renders on a server without a request, and hydrates without a flash", async () => {
    const initial = () => ({ offset: offset(1), parts: ["Hello "] });
    const node = () => h(StrictMode, null, message("a", { initial: initial() }));
    const html = renderToString(node());
    expect(html).toBe('<p id="streaming">Hello </p>');
    expect(wire.count).toBe(0);
    const page = document.createElement("div");
    page.innerHTML = html;
    const errors = vi.spyOn(console, "error").mockImplementation(() => {});
    const hydrated = await acting(() => hydrateRoot(page, node()));
    expect(errors).not.toHaveBeenCalled();
    expect(wire.last.from).toBe(offset(1));
    wire.last.open().send(frame(2, "world"));
    await shows("Hello world");
    await acting(() => hydrated.unmount());
  });

  it("makes no request for a message whose end the page knows", async () => {
    await render(message("a", { initial: { status: "done", text: "all" } }));
    expect(latest).toMatchObject({ text: "all", status: "done" });
    expect(wire.count).toBe(0);
  });

  it("uses the provider's client", async () => {
    const other = new Wire();
    const client = createClient({ fetch: other.fetch });
    await render(h(InkstreamProvider, { client }, message("a")));
    expect(wire.count).toBe(0);
    expect(other.count).toBe(1);
    other.last.stream("Hi");
    await shows("Hi");
  });

  it("renders far less often than once for each token of a burst", async () => {
    await render(message("a"));
    wire.last.stream();
    renders = 0;
    for (let n = 1; n <= 500; n++) wire.last.send(frame(n, "x"));
    await shows("x".repeat(500));
    expect(renders).toBeLessThan(60);
  });

  it("follows another stream when an event handler changes the id", async () => {
    function Page(): ReactNode {
      const [id, setId] = useState("a");
      return h("div", { onClick: () => setId("b") }, message(id));
    }
    document.body.append(host);
    await render(h(Page));
    wire.last.stream("one");
    await shows("one");
    await acting(() => (host.firstChild as HTMLElement).click());
    wire.last.stream("two");
    await shows("two");
    host.remove();
  });
});
