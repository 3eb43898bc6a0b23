/** Tests of the types. `npm run check` compiles this file; it never runs. */
import { expectTypeOf } from "vitest";
import {
  type Client,
  createClient,
  InkstreamError,
  isEnded,
  type Part,
  type Snapshot,
  type Status,
  type Stream,
  type StreamError,
} from "../src/index.js";
import { defineInkStream } from "../src/element.js";
import { isKnown } from "../src/parts.js";
import { useStream } from "../src/react.js";

const client = createClient({ headers: async () => [["x-a", "1"]], credentials: "include" });
expectTypeOf(client).toEqualTypeOf<Client>();
createClient({ headers: new Headers() });
// @ts-expect-error a header's value is text
createClient({ headers: { "x-a": 1 } });
// @ts-expect-error there is no such option
createClient({ retries: 3 });

const stream = client.stream(new URL("https://h.invalid/s/a"), {
  drive: "/ask",
  stopUrl: undefined,
});
expectTypeOf(stream).toEqualTypeOf<Stream>();
expectTypeOf(stream.subscribe(() => {})).toEqualTypeOf<() => void>();
expectTypeOf(stream.stop).toEqualTypeOf<() => Promise<void>>();
expectTypeOf(stream.disconnect).toEqualTypeOf<() => void>();
for await (const part of stream) expectTypeOf(part).toEqualTypeOf<Part>();

const snapshot = stream.getSnapshot();
expectTypeOf(snapshot).toEqualTypeOf<Snapshot>();
expectTypeOf(snapshot.status).toEqualTypeOf<Status>();
expectTypeOf(snapshot.error).toEqualTypeOf<StreamError | null>();
expectTypeOf(snapshot.result).toBeUnknown();
expectTypeOf(snapshot.transport).toEqualTypeOf<"events" | "polling">();
// @ts-expect-error a snapshot cannot be changed
snapshot.text = "";
// @ts-expect-error a snapshot's parts cannot be changed
snapshot.parts.push("x");

const shown = useStream(undefined, { url: "/streams" });
expectTypeOf(shown).toExtend<Snapshot>();
expectTypeOf(shown.stop).toEqualTypeOf<() => Promise<void>>();
expectTypeOf(shown.retry).toEqualTypeOf<() => void>();
expectTypeOf(isEnded(shown.status)).toEqualTypeOf<boolean>();
useStream(null, { url: new URL("https://h.invalid"), authToken: null, onEnd: (it) => it.text });
useStream("a", {
  url: "/s",
  background: true,
  headers: { a: "b" },
  initial: { offset: null, text: "" },
});
const typed = useStream<{ weather: { degrees: number } }>("a", { url: "/s" });
for (const part of typed.message.parts) {
  if (part.type === "data-weather") expectTypeOf(part.data.degrees).toBeNumber();
  if (part.type === "text") expectTypeOf(part.text).toBeString();
  if (part.type === "dynamic-tool") expectTypeOf(part.toolName).toBeString();
  if (part.type === "data-part") expectTypeOf(part.data["x"]).toBeUnknown();
}
for (const part of typed.parts) {
  if (typeof part === "string" || !isKnown(part)) continue;
  if (part.type === "data-weather") expectTypeOf(part.data.degrees).toBeNumber();
  if (part.type === "reasoning-delta") expectTypeOf(part.delta).toBeString();
}
// @ts-expect-error the address is needed
useStream("a", {});
// @ts-expect-error an id is text
useStream(1, { url: "/s" });

expectTypeOf(
  defineInkStream({ client, name: "my-stream" }),
).toEqualTypeOf<CustomElementConstructor>();
expectTypeOf(new InkstreamError({ code: null, message: null }).http).toEqualTypeOf<
  number | undefined
>();
