/** A stream and its watcher in virtual time; the test plays the server. */
import { afterEach, beforeEach, expect, vi } from "vitest";
import { type Client, createClient, type Snapshot, type Stream } from "../src/index.js";
import { offset, pass, virtualTime, Wire } from "./wire.js";

export let wire: Wire;
export let client: Client;
export let stream: Stream;
/** How often the watcher of `watch` was called. */
export let calls: number;
export let leave: () => void;
const watched: Stream[] = [];

/** Set up every test of a file, and fail if a timer is left behind. */
export function setScene(): void {
  beforeEach(() => {
    virtualTime();
    wire = new Wire();
    client = createClient({ fetch: wire.fetch });
    stream = client.stream("/s/a");
    calls = 0;
  });

  afterEach(async () => {
    for (const it of [stream, ...watched.splice(0)]) it.disconnect();
    await pass();
    const left = vi.getTimerCount();
    vi.useRealTimers();
    expect(left, "timers left behind").toBe(0);
  });
}

export function use(other: Stream): void {
  stream = other;
}

export async function watch(it: Stream = stream): Promise<void> {
  watched.push(it);
  leave = it.subscribe(() => calls++);
  await pass();
}

export const shown = (): Snapshot => stream.getSnapshot();

/** Open a connection that receives these messages. */
export async function opened(...parts: unknown[]): Promise<void> {
  await watch();
  wire.last.stream(...parts);
  await pass(16);
}

/** The body of a snapshot in the server's form. */
export const snapshot = (position: number, parts: unknown[], more: object = {}) => ({
  offset: offset(position),
  parts,
  status: "streaming",
  ...more,
});
