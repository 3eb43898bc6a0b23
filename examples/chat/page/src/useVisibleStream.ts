import type { Initial, Snapshot } from "inkstream";
import { useStream, type UseStreamOptions, type UseStreamResult } from "inkstream/react";
import { useEffect, useState, useSyncExternalStore } from "react";

/**
 * `useStream`, which lets go of its connection while nobody can see the page.
 *
 * A browser opens six HTTP/1.1 connections to a server, all windows together: without this, the
 * fourth tab of a chat could not even be loaded. Over HTTP/2 `useStream` alone would do.
 */
export function useVisibleStream(
  id: string | undefined,
  options: UseStreamOptions,
): UseStreamResult {
  const visible = useSyncExternalStore(onVisibilityChange, isVisible);
  const [last, setLast] = useState<{ id: string | undefined; snapshot: Snapshot }>();
  const kept = last && last.id === id ? last.snapshot : undefined;
  const stream = useStream(visible ? id : undefined, {
    ...options,
    initial: kept ? resumable(kept) : options.initial,
  });
  useEffect(() => {
    if (visible) setLast({ id, snapshot: stream });
  }, [visible, id, stream]);
  return visible || !kept ? stream : { ...kept, stop: stream.stop };
}

/** Return what is to be gone on from; a request that failed is no part of it. */
function resumable({ status, offset, parts, error, result }: Snapshot): Initial {
  const failed = error?.http !== undefined;
  return failed ? { offset, parts } : { status, offset, parts, error, result };
}

function onVisibilityChange(listener: () => void): () => void {
  document.addEventListener("visibilitychange", listener);
  return () => document.removeEventListener("visibilitychange", listener);
}

const isVisible = () => document.visibilityState === "visible";
