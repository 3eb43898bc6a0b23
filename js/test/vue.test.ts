import { createSSRApp, createApp, defineComponent, h, nextTick, ref, type App } from "vue";
import { renderToString } from "vue/server-renderer";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createClient, type Initial } from "../src/index.js";
import { inkstreamClient, useStream, type UseStreamResult } from "../src/vue.js";
import { endFrame, frame, offset, Wire } from "./wire.js";

let wire: Wire;
let app: App | undefined;
let host: HTMLElement;
let latest: UseStreamResult;
const id = ref<string | null>(null);
const onEnd = vi.fn();
const onReset = vi.fn();

const Answer = defineComponent({
  props: { initial: { type: Object } },
  setup(props) {
    latest = useStream(id, {
      url: () => "/streams",
      initial: () => props.initial as Initial,
      onEnd,
      onReset,
    });
    return () => h("p", { id: latest.status.value }, latest.text.value);
  },
});

beforeEach(() => {
  vi.spyOn(Math, "random").mockReturnValue(0.01);
  onEnd.mockReset();
  onReset.mockReset();
  wire = new Wire();
  host = document.createElement("div");
  id.value = null;
});
afterEach(async () => {
  app?.unmount();
  app = undefined;
  await vi.waitFor(() => expect(wire.all.every((it) => it.isOver)).toBe(true));
});

const asked = () => new Promise((resolve) => setTimeout(resolve));
async function mount(streamId: string | null, initial?: Initial): Promise<void> {
  id.value = streamId;
  app = createApp(Answer, { initial });
  app.provide(inkstreamClient, createClient({ fetch: (...args) => wire.fetch(...args) }));
  app.mount(host);
  await asked();
}
const shows = (html: string) =>
  vi.waitFor(() => expect(host.innerHTML).toBe(html), { interval: 5 });

describe("useStream for Vue", () => {
  it("shows the text as it arrives, folds its parts, and calls onEnd once", async () => {
    await mount("a");
    expect(host.innerHTML).toBe('<p id="pending"></p>');
    wire.last.stream("Hel", { type: "reasoning-start", id: "r" });
    await shows('<p id="streaming">Hel</p>');
    // The reasoning part arrives in a chunk of its own, perhaps a frame later than the text.
    await vi.waitFor(() =>
      expect(latest.message.value.parts[1]).toMatchObject({
        type: "reasoning",
        state: "streaming",
      }),
    );
    wire.last.send(frame(3, "lo") + endFrame(3));
    await shows('<p id="done">Hello</p>');
    await nextTick();
    expect(onEnd).toHaveBeenCalledTimes(1);
    expect(latest.message.value.parts[1]).toMatchObject({ type: "reasoning", state: "done" });
  });

  it("changes the stream with the id, and never mixes texts", async () => {
    await mount(null);
    expect(wire.count).toBe(0);
    id.value = "a";
    await asked();
    wire.last.stream("of a");
    await shows('<p id="streaming">of a</p>');
    id.value = "b";
    expect(latest.text.value).toBe("");
    await vi.waitFor(() => expect(wire.all[0]?.givenUp).toBe(true));
    expect(wire.last.path).toBe("/streams/b");
    id.value = null;
    await shows('<p id="pending"></p>');
  });

  it("stop sends a POST; unmounting closes the connection and sends nothing (G6)", async () => {
    await mount("a");
    wire.last.stream("Hi");
    await shows('<p id="streaming">Hi</p>');
    const stopped = latest.stop();
    await vi.waitFor(() => expect(wire.last.path).toBe("/streams/a/cancel"));
    expect(latest.snapshot.value.stopping).toBe(true);
    wire.last.refuse(204);
    await stopped;
    app?.unmount();
    app = undefined;
    await vi.waitFor(() => expect(wire.all[0]?.givenUp).toBe(true));
    expect(wire.count).toBe(2);
  });

  it("calls onReset when the text is read again", async () => {
    await mount("a", { offset: offset(3), text: "before" });
    expect(host.innerHTML).toBe('<p id="streaming">before</p>');
    wire.last.refuse(410, "offset_gone");
    await vi.waitFor(() => expect(wire.count).toBe(2));
    wire.last.stream("after");
    await shows('<p id="streaming">after</p>');
    expect(onReset).toHaveBeenCalledTimes(1);
  });

  it("renders the page's text on a server without a request (I10)", async () => {
    id.value = "a";
    vi.stubGlobal("document", undefined);
    const initial = { offset: offset(1), text: "so far" };
    const html = await renderToString(createSSRApp(Answer, { initial }));
    expect(html).toBe('<p id="streaming">so far</p>');
    expect(wire.count).toBe(0);
  });
});
