import {
  type InjectionKey,
  type MaybeRefOrGetter,
  type ShallowRef,
  type ComputedRef,
  computed,
  inject,
  onScopeDispose,
  shallowRef,
  toValue,
  watch,
} from "vue";
import { below } from "./address.js";
import { type Client, createClient } from "./client.js";
import { firstSnapshot } from "./display.js";
import { fold } from "./fold.js";
import type { Stream } from "./stream.js";
import { type HeadersSource, type Initial, isEnded, type Snapshot } from "./types.js";
import type { DataTypes, Message } from "./vocabulary.js";

export { isEnded };

/** What `useStream` needs to know. */
export interface UseStreamOptions<Data extends DataTypes = DataTypes> {
  /** The streams' address: `{url}/{streamId}` is read, and `{url}/{streamId}/cancel` stops. */
  url: MaybeRefOrGetter<string | URL>;
  /** This session starts the answer: POST here, with `{"stream_id": …}`, and follow it. */
  drive?: MaybeRefOrGetter<string | URL | undefined>;
  /** Where `stop` POSTs to, if it is not `{url}/{streamId}/cancel`. */
  stopUrl?: MaybeRefOrGetter<string | URL | undefined>;
  /** Sent with every request; a function is asked before each. */
  headers?: HeadersSource;
  /** Follow also while the page is hidden. */
  background?: boolean;
  /** What the page has already (a server-rendered text, a message's status). Read once a stream. */
  initial?: MaybeRefOrGetter<Initial | undefined>;
  /** Called once when the stream's end is known here, also if it had ended before. */
  onEnd?: (snapshot: Snapshot<Data>) => void;
  /** Called when the text was dropped and is read anew: the stored text had become another. */
  onReset?: () => void;
}

/** A stream as a component renders it. */
export interface UseStreamResult<Data extends DataTypes = DataTypes> {
  /** What is known; replaced at most once a frame. */
  readonly snapshot: Readonly<ShallowRef<Snapshot<Data>>>;
  readonly text: ComputedRef<string>;
  readonly status: ComputedRef<Snapshot["status"]>;
  /** The parts folded into what a page shows; folded only where it is used. */
  readonly message: ComputedRef<Message<Data>>;
  /** Ask the server to end the answer, for everybody. Rejects with an `InkstreamError` if refused. */
  readonly stop: () => Promise<void>;
  /** Ask again now: after a request that failed, or instead of waiting for the next try. */
  readonly retry: () => void;
}

/** Provide a client with options of its own: `app.provide(inkstreamClient, createClient({ … }))`. */
export const inkstreamClient: InjectionKey<Client> = Symbol("inkstream");

const shared = createClient();

/**
 * Show a stream: its text so far, and then every token as it is committed.
 *
 * Without an id (yet) it is `pending`, and nothing is asked. Leaving the component stops watching,
 * not the answer. On a server it renders what `initial` says, and asks nothing.
 */
export function useStream<Data extends DataTypes = DataTypes>(
  streamId: MaybeRefOrGetter<string | null | undefined>,
  options: UseStreamOptions<Data>,
): UseStreamResult<Data> {
  const client = inject(inkstreamClient, shared);
  let stream: Stream | undefined;
  let leave = () => {};
  const snapshot = shallowRef(firstSnapshot()) as ShallowRef<Snapshot<Data>>;

  const follow = (address: string | undefined): void => {
    leave();
    leave = () => {};
    const { stopUrl, headers, background } = options;
    stream =
      address === undefined
        ? undefined
        : client.stream(address, {
            drive: toValue(options.drive),
            driveBody: { stream_id: toValue(streamId) },
            stopUrl: toValue(stopUrl),
            initial: toValue(options.initial),
            headers,
            background,
          });
    const followed = stream;
    let ended = false;
    let resets: number | undefined;
    const show = (): void => {
      const next = (followed?.getSnapshot() ?? firstSnapshot()) as Snapshot<Data>;
      snapshot.value = next;
      if (next.resets > (resets ?? next.resets)) options.onReset?.();
      resets = next.resets;
      if (ended || !isEnded(next.status) || next.error?.http !== undefined) return;
      ended = true;
      options.onEnd?.(next);
    };
    if (followed && globalThis.document) leave = followed.subscribe(show);
    show();
  };

  const address = computed(() => {
    const id = toValue(streamId);
    return id == null ? undefined : below(String(toValue(options.url)), id);
  });
  watch(address, follow, { immediate: true, flush: "sync" });
  onScopeDispose(() => leave());

  return {
    snapshot,
    text: computed(() => snapshot.value.text),
    status: computed(() => snapshot.value.status),
    message: computed(() => fold(snapshot.value.parts, { ended: isEnded(snapshot.value.status) })),
    stop: async () => stream?.stop(),
    retry: () => stream?.retry(),
  };
}
