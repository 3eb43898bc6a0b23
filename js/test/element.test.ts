import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createClient, type Snapshot } from "../src/index.js";
import { defineInkStream } from "../src/element.js";
import { endFrame, frame, offset, Wire } from "./wire.js";

let wire: Wire;
// The element is defined once for all tests, so its client uses the wire of the current test.
const client = createClient({ fetch: (address, init) => wire.fetch(address, init) });
defineInkStream({ client });

type InkStream = HTMLElement & { stop(): Promise<void>; snapshot: Snapshot | undefined };

beforeEach(() => {
  wire = new Wire();
});
afterEach(async () => {
  document.body.innerHTML = "";
  await vi.waitFor(() => expect(wire.all.every((it) => it.isOver)).toBe(true));
});

/** Wait until requests are sent, because elements that are added together share a request. */
const asked = () => new Promise((resolve) => setTimeout(resolve));

/** Put markup into the page, as htmx does. */
const swap = async (html: string): Promise<InkStream> => {
  const parsed = document.createElement("div");
  parsed.innerHTML = html;
  const it = parsed.firstElementChild as InkStream;
  document.body.replaceChildren(it);
  await asked();
  return it;
};
const button = (it: InkStream) => it.shadowRoot?.querySelector("button") as HTMLButtonElement;
const alert = (it: InkStream) => it.shadowRoot?.querySelector("[role=alert]")?.textContent;
const shows = (it: InkStream, text: string) =>
  vi.waitFor(() => expect(it.textContent).toBe(text), { interval: 5 });

describe("<ink-stream>", () => {
  it("follows when htmx inserts it, and replaces the text so far", async () => {
    const it = await swap('<ink-stream src="/s/a">Hello wo</ink-stream>');
    wire.last.stream("Hello ");
    await vi.waitFor(() => expect(it.getAttribute("status")).toBe("streaming"));
    expect(it.textContent, "the shown text does not shrink").toBe("Hello wo");
    expect(it.getAttribute("aria-busy")).toBe("true");
    wire.last.send(frame(2, "world"));
    await shows(it, "Hello world");
    wire.last.send(endFrame(2));
    await vi.waitFor(() => expect(it.getAttribute("status")).toBe("done"));
    expect(it.getAttribute("aria-busy")).toBe("false");
    expect(wire.count).toBe(1);
  });

  it("continues after the page's text if `offset` says where it ends", async () => {
    const it = await swap(`<ink-stream src="/s/a" offset="${offset(3)}">Hello </ink-stream>`);
    expect(wire.last.from).toBe(offset(3));
    wire.last.open().send(frame(4, "world"));
    await shows(it, "Hello world");
  });

  it("shows text as text (XSS), in one node that grows", async () => {
    const it = await swap('<ink-stream src="/s/a"></ink-stream>');
    const attack = '<img src=x onerror="alert(1)"><script>alert(1)</script>';
    wire.last.stream(attack);
    await shows(it, attack);
    expect(it.children.length).toBe(0);
    const node = it.firstChild;
    wire.last.send(frame(2, "&amp;"));
    await shows(it, `${attack}&amp;`);
    expect(it.firstChild).toBe(node);
  });

  it("shows Stop while the answer arrives", async () => {
    const it = await swap('<ink-stream src="/s/a" stop-url="/own" stop-label="Halt"></ink-stream>');
    wire.last.stream("Hi");
    await shows(it, "Hi");
    expect(button(it)).toMatchObject({ hidden: false, textContent: "Halt" });
    button(it).click();
    await vi.waitFor(() => expect(wire.last).toMatchObject({ method: "POST", path: "/own" }));
    expect(button(it).disabled, "a second press is impossible").toBe(true);
    wire.last.refuse(204);
    wire.all[0]?.send(endFrame(1, { status: "cancelled" }));
    await vi.waitFor(() => expect(button(it).hidden).toBe(true));
    expect(alert(it)).toBe("");
  });

  it.each([
    ["beside the button that moved, presses Stop", {}, {}, true],
    ["far from the press, takes the press back", {}, { clientX: 40 }, false],
    ["of the right button does nothing", { button: 2 }, {}, false],
    ["of another finger does nothing", {}, { pointerId: 2 }, false],
  ])("a release %s", async (_, down, up, stops) => {
    const it = await swap('<ink-stream src="/s/a"></ink-stream>');
    wire.last.stream("Hi");
    await shows(it, "Hi");
    const at = { bubbles: true, composed: true, pointerId: 1, clientX: 10, clientY: 10 };
    button(it).dispatchEvent(new PointerEvent("pointerdown", { ...at, ...down }));
    document.body.dispatchEvent(new PointerEvent("pointerup", { ...at, ...down, ...up }));
    await asked();
    expect(button(it).disabled).toBe(stops);
    expect(wire.count).toBe(stops ? 2 : 1);
    if (stops) wire.last.refuse(204);
  });

  it("shows `stopping-label` while a Stop waits for the network", async () => {
    const it = await swap('<ink-stream src="/s/a" stopping-label="Halting"></ink-stream>');
    wire.last.stream("Hi");
    await shows(it, "Hi");
    button(it).click();
    await vi.waitFor(() => expect(wire.last.method).toBe("POST"));
    wire.last.fail();
    await vi.waitFor(() => expect(wire.count).toBeGreaterThan(2), { timeout: 5_000 });
    expect(button(it)).toMatchObject({ disabled: true, textContent: "Halting" });
    expect(alert(it)).toBe("");
    wire.last.refuse(204);
    wire.all[0]?.send(endFrame(1, { status: "cancelled" }));
    await vi.waitFor(() => expect(button(it).hidden).toBe(true));
  });

  it("dispatches ink-reset when the text is read again", async () => {
    const it = await swap(
      `<ink-stream src="/s/a" offset="${offset(3)}">restored over</ink-stream>`,
    );
    const told = vi.fn();
    it.addEventListener("ink-reset", told);
    wire.last.refuse(410, "offset_gone");
    await vi.waitFor(() => expect(wire.count).toBe(2));
    expect(wire.last.from).toBe(null);
    wire.last.stream("new");
    await shows(it, "new");
    expect(told).toHaveBeenCalledTimes(1);
  });

  it("shows that Stop was refused", async () => {
    const it = await swap('<ink-stream src="/s/a"></ink-stream>');
    wire.last.stream("Hi");
    await shows(it, "Hi");
    button(it).click();
    await vi.waitFor(() => expect(wire.last.method).toBe("POST"));
    wire.last.refuse(403, "cross_site");
    await vi.waitFor(() => expect(alert(it)).toBe("about cross_site"));
    expect(button(it)).toMatchObject({ disabled: false, hidden: false });
  });

  it("shows an error beside the text", async () => {
    const it = await swap('<ink-stream src="/s/a"></ink-stream>');
    wire.last
      .stream("half")
      .send(endFrame(1, { status: "error", code: "overloaded", message: "Try <b>later</b>" }));
    await vi.waitFor(() => expect(alert(it)).toBe("Try <b>later</b>"));
    expect(it.textContent).toBe("half");
  });

  it("keeps the text so far when the request is refused", async () => {
    const it = await swap('<ink-stream src="/s/a">so far</ink-stream>');
    wire.last.refuse(401, "unauthorized");
    await vi.waitFor(() => expect(alert(it)).toBe("about unauthorized"));
    expect(it.textContent).toBe("so far");
  });

  it("dispatches events with the snapshot", async () => {
    const told: [string, Snapshot["status"]][] = [];
    for (const type of ["ink-change", "ink-end"]) {
      document.body.addEventListener(type, (event) =>
        told.push([type, (event as CustomEvent<Snapshot>).detail.status]),
      );
    }
    const it = await swap('<ink-stream src="/s/a"></ink-stream>');
    wire.last.stream("Hi").send(endFrame(1));
    await vi.waitFor(() => expect(told.at(-1)).toEqual(["ink-end", "done"]));
    expect(told.filter(([type]) => type === "ink-end").length).toBe(1);
    expect(it.snapshot).toMatchObject({ text: "Hi", status: "done" });
  });

  it("moves without a new request, and leaves nothing when removed (G6)", async () => {
    const it = await swap('<ink-stream src="/s/a"></ink-stream>');
    wire.last.stream("Hi");
    await shows(it, "Hi");
    document.body.append(document.createElement("main"));
    document.querySelector("main")?.append(it);
    wire.last.send(frame(2, "!"));
    await shows(it, "Hi!");
    expect(wire.count).toBe(1);
    it.remove();
    await vi.waitFor(() => expect(wire.last.givenUp).toBe(true));
    expect(wire.count).toBe(1);
    document.body.append(it);
    await asked();
    expect(wire.last.from).toBe(offset(2));
    wire.last.open().send(frame(3, "?"));
    await shows(it, "Hi!?");
  });

  it("closes its connection while the page is hidden, but not with `background`", async () => {
    const state = vi.spyOn(document, "visibilityState", "get").mockReturnValue("hidden");
    await swap('<ink-stream src="/s/a" background></ink-stream>');
    expect(wire.count).toBe(1);
    const it = await swap('<ink-stream src="/s/b"></ink-stream>');
    await vi.waitFor(() => expect(wire.last.givenUp).toBe(true));
    expect(wire.count).toBe(1);
    state.mockReturnValue("visible");
    document.dispatchEvent(new Event("visibilitychange"));
    await vi.waitFor(() => expect(wire.last.path).toBe("/s/b"));
    wire.last.stream("Hi");
    await shows(it, "Hi");
  });

  it("changes the stream with src, and waits without src", async () => {
    const it = await swap("<ink-stream></ink-stream>");
    expect(wire.count).toBe(0);
    it.setAttribute("src", "/s/a");
    await asked();
    wire.last.stream("of a");
    await shows(it, "of a");
    it.setAttribute("src", "/s/b");
    await asked();
    expect(it.textContent).toBe("");
    wire.last.stream("of b");
    await shows(it, "of b");
    expect(wire.all.map((request) => request.path)).toEqual(["/s/a", "/s/b"]);
  });

  it("waits for the parser to add the element's text", async () => {
    const state = vi.spyOn(document, "readyState", "get").mockReturnValue("loading");
    const it = await swap("<ink-stream src='/s/a'></ink-stream>");
    it.append("Hello wo");
    expect(wire.count).toBe(0);
    state.mockReturnValue("interactive");
    document.dispatchEvent(new Event("DOMContentLoaded"));
    await asked();
    wire.last.stream("Hello ");
    await vi.waitFor(() => expect(it.getAttribute("status")).toBe("streaming"));
    expect(it.textContent).toBe("Hello wo");
  });

  it("a second definition returns the same class", () => {
    expect(defineInkStream()).toBe(customElements.get("ink-stream"));
  });
});
