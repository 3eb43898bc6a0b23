"use client";

import {
  createContext,
  createElement,
  type ReactNode,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useSyncExternalStore,
} from "react";
import { below } from "./address.js";
import { type Client, createClient } from "./client.js";
import { firstSnapshot } from "./display.js";
import { fold } from "./fold.js";
import type { DataTypes, Message } from "./vocabulary.js";
import { type HeadersSource, type Initial, isEnded, type Snapshot } from "./types.js";

export { isEnded };

/**
 * Options of `useStream`. A component may write the options inline, because the hook compares only
 * the values of the addresses, of `authToken` and of `background`.
 */
export interface UseStreamOptions<Data extends DataTypes = DataTypes> {
  /** The hook reads `{url}/{streamId}`; `stop` sends a POST to `{url}/{streamId}/cancel`. */
  url: string | URL;
  /** If set, the page starts the answer by a POST of `{"stream_id": …}` to this address. */
  drive?: string | URL | undefined;
  /** Where `stop` sends its POST, if not to `{url}/{streamId}/cancel`. */
  stopUrl?: string | URL | undefined;
  /** Sent as `Authorization: Bearer …`. The next request after a change sends the new token. */
  authToken?: string | null | undefined;
  /** Headers for every request. A function is called before each request. */
  headers?: HeadersSource | undefined;
  /**
   * If true, follow the stream also while the page is hidden, for example for a sound at the end of
   * the answer. Otherwise the client closes the connection when the page becomes hidden, and
   * fetches the missing text when the page is visible again.
   */
  background?: boolean | undefined;
  /** The text or status that the page already has. The hook reads it once for each stream. */
  initial?: Initial | undefined;
  /** Called once when this page learns that the stream has ended, perhaps long ago. */
  onEnd?: ((snapshot: Snapshot<Data>) => void) | undefined;
  /**
   * Called when the hook has discarded the text, because the stored text changed (a database was
   * restored). Discard everything that was computed from the old text.
   */
  onReset?: (() => void) | undefined;
}

export interface UseStreamResult<Data extends DataTypes = DataTypes> extends Snapshot<Data> {
  /** The parts, folded into a message to show: text, reasoning, tool calls, sources, data. */
  readonly message: Message<Data>;
  /**
   * Ask the server to end the answer for all readers. The promise rejects with an `InkstreamError`
   * if the server refuses.
   */
  readonly stop: () => Promise<void>;
  /** Send a request now: after a failed request, or instead of waiting for the next try. */
  readonly retry: () => void;
}

// The default client holds only the streams of mounted components. On a server it stays empty, so
// the pages of two users share nothing.
const ClientContext = createContext<Client>(createClient());

/** Give one client, with its own options, to all components inside the provider. */
export function InkstreamProvider(props: { client: Client; children?: ReactNode }): ReactNode {
  return createElement(ClientContext.Provider, { value: props.client }, props.children);
}

const NOTHING: Snapshot = { ...firstSnapshot(), connection: "closed" };

/** Takes the place of a `Stream` if there is no stream id. */
const NONE = {
  subscribe: () => () => {},
  getSnapshot: () => NOTHING,
  getServerSnapshot: () => NOTHING,
  stop: async () => {},
  retry: () => {},
};

/**
 * Show a stream: its text so far, and then each token after the server has committed it.
 *
 * Without an id the status is `pending`, and no request is made. Unmounting stops watching, but
 * does not stop the answer. Components that show the same stream share one connection. `Data` gives
 * the types of the application's `data-…` parts. The hook does not check these types.
 */
export function useStream<Data extends DataTypes = DataTypes>(
  streamId: string | null | undefined,
  options: UseStreamOptions<Data>,
): UseStreamResult<Data> {
  const client = useContext(ClientContext);
  const latest = useRef(options);
  const address = streamId == null ? undefined : below(String(options.url), streamId);
  const drive = options.drive && String(options.drive);
  const stopUrl = options.stopUrl && String(options.stopUrl);
  const { authToken, background } = options;

  const stream = useMemo(
    () =>
      address === undefined
        ? NONE
        : client.stream(address, {
            drive,
            driveBody: { stream_id: streamId },
            stopUrl,
            background,
            initial: options.initial,
            headers: async () => bearer(latest.current),
          }),
    // With a new authToken, the hook requests a refused stream again.
    [client, address, drive, stopUrl, background, authToken],
  );

  // This effect runs before the subscription's effect, so that the first request has the current
  // headers.
  useEffect(() => {
    latest.current = options;
  });
  const snapshot = useSyncExternalStore(
    stream.subscribe,
    stream.getSnapshot,
    stream.getServerSnapshot,
  );

  const resets = useRef({ stream, count: snapshot.resets });
  useEffect(() => {
    const { stream: before, count } = resets.current;
    resets.current = { stream, count: snapshot.resets };
    if (before === stream && snapshot.resets > count) latest.current.onReset?.();
  }, [stream, snapshot.resets]);

  const told = useRef<string>(undefined);
  useEffect(() => {
    const ended = isEnded(snapshot.status) && snapshot.error?.http === undefined;
    if (address === undefined || told.current === address || !ended) return;
    told.current = address;
    latest.current.onEnd?.(snapshot as Snapshot<Data>);
  }, [address, snapshot]);

  const { parts } = snapshot;
  const ended = isEnded(snapshot.status);
  const message = useMemo(() => fold(parts, { ended }), [parts, ended]);
  return useMemo(
    () =>
      ({ ...snapshot, message, stop: stream.stop, retry: stream.retry }) as UseStreamResult<Data>,
    [snapshot, message, stream],
  );
}

async function bearer({ authToken, headers }: UseStreamOptions<never>): Promise<Headers> {
  const all = new Headers(typeof headers === "function" ? await headers() : headers);
  if (authToken) all.set("authorization", `Bearer ${authToken}`);
  return all;
}
