/** The snippets of the README for Svelte and Solid work with the real packages. */
import { from, createRoot, createEffect } from "solid-js";
import { readable } from "svelte/store";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { type Client, createClient, type Snapshot } from "../src/index.js";
import { frame, Wire } from "./wire.js";

const id = "a";
let wire: Wire;
let client: Client;
let texts: string[];

beforeEach(() => {
  wire = new Wire();
  client = createClient({ fetch: wire.fetch });
  texts = [];
});
afterEach(async () => {
  await vi.waitFor(() => expect(wire.last.isOver, "leaving closes the connection").toBe(true));
});

async function play(): Promise<void> {
  await vi.waitFor(() => expect(wire.last.path).toBe("/streams/a"));
  wire.last.stream("Hel");
  await vi.waitFor(() => expect(texts.at(-1)).toBe("Hel"));
  wire.last.send(frame(2, "lo"));
  await vi.waitFor(() => expect(texts.at(-1)).toBe("Hello"));
}

it("Svelte: a readable store that follows while it has subscribers (G6)", async () => {
  const stream = client.stream(`/streams/${id}`);
  const answer = readable(stream.getSnapshot(), (set) =>
    stream.subscribe(() => set(stream.getSnapshot())),
  );
  const leave = answer.subscribe(({ text }) => texts.push(text));
  await play();
  leave();
});

it("Solid: a signal that follows until its owner is disposed (G6)", async () => {
  const dispose = createRoot((dispose) => {
    const stream = client.stream(`/streams/${id}`);
    const answer = from<Snapshot>(
      (set) => stream.subscribe(() => set(stream.getSnapshot())),
      stream.getSnapshot(),
    );
    createEffect(() => texts.push(answer().text));
    return dispose;
  });
  await play();
  dispose();
});
