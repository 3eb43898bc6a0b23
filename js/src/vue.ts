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

export interface UseStreamOptions<Data extends DataTypes = DataTypes> {
  /** `useStream` reads `{url}/{streamId}`; `stop` sends a POST to `{url}/{streamId}/cancel`. */
  url: MaybeRefOrGetter<string | URL>;
  /** If set, the page starts the answer by a POST of `{"stream_id": …}` to this address. */
  drive?: MaybeRefOrGetter<string | URL | undefined>;
  /** Where `stop` sends its POST, if not to `{url}/{streamId}/cancel`. */
  stopUrl?: MaybeRefOrGetter<string | URL | undefined>;
  /** Headers for every request. A function is called before each request. */
  headers?: HeadersSource;
  /** Follow the stream also while the page is hidden. */
  background?: boolean;
  /** The text or status that the page already has. `useStream` reads it once for each stream. */
  initial?: MaybeRefOrGetter<Initial | undefined>;
  /** Called once when this page learns that the stream has ended, perhaps long ago. */
  onEnd?: (snapshot: Snapshot<Data>) => void;
  /** Called when the old text was discarded, because the stored text changed. */
  onReset?: () => void;
}

export interface UseStreamResult<Data extends DataTypes = DataTypes> {
  /** The current snapshot. For new text, it is replaced at most once a frame. */
  readonly snapshot: Readonly<ShallowRef<Snapshot<Data>>>;
  readonly text: ComputedRef<string>;
  readonly status: ComputedRef<Snapshot["status"]>;
  /** The parts, folded into a message to show. The parts are folded only if `message` is used. */
  readonly message: ComputedRef<Message<Data>>;
  /**
   * Ask the server to end the answer for all readers. The promise rejects with an `InkstreamError`
   * if the server refuses.
   */
  readonly stop: () => Promise<void>;
  /** Send a request now: after a failed request, or instead of waiting for the next try. */
  readonly retry: () => void;
}

/** Provide a client with its own options: `app.provide(inkstreamClient, createClient({ … }))`. */
export const inkstreamClient: InjectionKey<Client> = Symbol("inkstream");

const shared = createClient();

/**
 * Show a stream: its text so far, and then each token after the server has committed it.
 *
 * Without an id the status is `pending`, and no request is made. Unmounting the component stops
 * watching, but does not stop the answer. On a server, `useStream` shows `initial`, and makes no
 * request.
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
