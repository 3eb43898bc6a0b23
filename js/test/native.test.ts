/** React Native's own `fetch` waits for the whole body; `expo/fetch` streams the body. */
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createClient, isEnded, type Stream } from "../src/index.js";
import { FakeServer } from "./fake-server.js";

const server = new FakeServer();
const streaming = globalThis.fetch;
let address: string;
let stream: Stream;

beforeEach(async () => {
  address = await server.listen();
  server.requests.length = 0;
});
afterEach(async () => {
  stream.disconnect();
  await server.close();
});

/** A response of whatwg-fetch, which React Native uses; the response has no `body`. */
class WholeResponse {
  readonly ok: boolean;
  readonly status: number;
  readonly headers: Headers;

  constructor(
    private readonly whole: string,
    { ok, status, headers }: Response,
  ) {
    this.ok = ok;
    this.status = status;
    this.headers = headers;
  }

  text = async () => this.whole;
  json = async () => JSON.parse(this.whole) as unknown;
}

/** Respond when the whole body has arrived, as XMLHttpRequest does. */
async function buffering(input: string, init: RequestInit): Promise<Response> {
  const response = await streaming(input, init);
  return new WholeResponse(await response.text(), response) as unknown as Response;
}

it("React Native's own fetch gets new text immediately, and then once a second (G2)", async () => {
  vi.stubGlobal("fetch", buffering);
  vi.stubGlobal("Response", WholeResponse);
  const source = server.create("native");
  source.append("Hel");
  stream = createClient().stream(`${address}/native`);
  const began = Date.now();
  stream.subscribe(() => {});
  const shows = (text: string) =>
    vi.waitFor(() => expect(stream.getSnapshot().text).toBe(text), { timeout: 5_000 });
  await shows("Hel");
  expect(Date.now() - began, "the client did not wait for events").toBeLessThan(3_000);
  expect(stream.getSnapshot()).toMatchObject({ transport: "polling", connection: "open" });
  source.append("lo");
  await shows("Hello");
  source.end();
  await vi.waitFor(() => expect(isEnded(stream.getSnapshot().status)).toBe(true), 5_000);
  expect(server.requests.every((it) => it.includes("format=json"))).toBe(true);
});

it("starts an answer with React Native's own fetch", async () => {
  vi.stubGlobal("fetch", buffering);
  vi.stubGlobal("Response", WholeResponse);
  server.create("driven").append("Hi");
  stream = createClient().stream(`${address}/driven`, { drive: `${address}/driven` });
  stream.subscribe(() => {});
  await vi.waitFor(() => expect(stream.getSnapshot().text).toBe("Hi"), 5_000);
  expect(server.requests[0]).toMatch(/^POST .*format=json/);
});

it("with a fetch that streams, given to the client, the client receives events", async () => {
  vi.stubGlobal("Response", WholeResponse); // the global `fetch` stays as it is
  const source = server.create("expo");
  source.append("Hel");
  const client = createClient({ fetch: (input, init) => streaming(input, init) });
  stream = client.stream(`${address}/expo`);
  stream.subscribe(() => {});
  await vi.waitFor(() => expect(stream.getSnapshot().text).toBe("Hel"), 5_000);
  expect(stream.getSnapshot()).toMatchObject({ transport: "events", connection: "open" });
  source.append("lo");
  await vi.waitFor(() => expect(stream.getSnapshot().text).toBe("Hello"), 5_000);
  expect(server.requests).toEqual(["GET /expo"]);
});
