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

/** What `useStream` needs to know. Everything may be written inline; only values are compared. */
export interface UseStreamOptions<Data extends DataTypes = DataTypes> {
  /** The streams' address: `{url}/{streamId}` is read, and `{url}/{streamId}/cancel` stops. */
  url: string | URL;
  /** This session starts the answer: POST here, with `{"stream_id": …}`, and follow it. */
  drive?: string | URL | undefined;
  /** Where `stop` POSTs to, if it is not `{url}/{streamId}/cancel`. */
  stopUrl?: string | URL | undefined;
  /** Sent as `Authorization: Bearer …`; a new one is used from the next request on. */
  authToken?: string | null | undefined;
  /** Sent with every request; a function is asked before each. */
  headers?: HeadersSource | undefined;
  /**
   * Follow also while the page is hidden: for a sound or a title that tells the end. Otherwise
   * the connection is let go, and the text is caught up with when the page is seen again.
   */
  background?: boolean | undefined;
  /** What the page has already (a server-rendered text, a message's status). Read once a stream. */
  initial?: Initial | undefined;
  /** Called once when the stream's end is known here, also if it had ended before. */
  onEnd?: ((snapshot: Snapshot<Data>) => void) | undefined;
  /**
   * Called when the text was dropped and is read again from its beginning, because the stored text
   * had become another (a database was restored). What the page made of it is to be made anew.
   */
  onReset?: (() => void) | undefined;
}

/** A stream as a component renders it. */
export interface UseStreamResult<Data extends DataTypes = DataTypes> extends Snapshot<Data> {
  /** The parts folded into what a page shows: text, reasoning, tool calls, sources, data. */
  readonly message: Message<Data>;
  /** Ask the server to end the answer, for everybody. Rejects with an `InkstreamError` if refused. */
  readonly stop: () => Promise<void>;
  /** Ask again now: after a request that failed, or instead of waiting for the next try. */
  readonly retry: () => void;
}

// It holds nothing but the streams of mounted components, and nothing at all on a server.
const ClientContext = createContext<Client>(createClient());

/** Let the components below share a client with options of its own. */
export function InkstreamProvider(props: { client: Client; children?: ReactNode }): ReactNode {
  return createElement(ClientContext.Provider, { value: props.client }, props.children);
}

const NOTHING: Snapshot = { ...firstSnapshot(), connection: "closed" };

/** The stream of no id. */
const NONE = {
  subscribe: () => () => {},
  getSnapshot: () => NOTHING,
  getServerSnapshot: () => NOTHING,
  stop: async () => {},
  retry: () => {},
};

/**
 * Show a stream: its text so far, and then every token as it is committed.
 *
 * Without an id (yet) it is `pending`, and nothing is asked. Unmounting stops watching, not the
 * answer. Components that show the same stream share one connection. `Data` names the types that
 * the application's `data-…` parts carry; nothing checks that they do.
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
    // authToken: with a new one, a stream that was refused is tried again.
    [client, address, drive, stopUrl, background, authToken],
  );

  // Before the subscription's effect, which asks for the headers.
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
