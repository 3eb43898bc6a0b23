import type { Initial, Snapshot } from "inkstream";
import { useStream, type UseStreamOptions, type UseStreamResult } from "inkstream/react";
import { useEffect, useState, useSyncExternalStore } from "react";

/**
 * `useStream`, which lets go of its connection while nobody can see the page, and while it rests.
 *
 * A browser opens six HTTP/1.1 connections to a server, all windows together: without this, the
 * fourth tab of a chat could not even be loaded, and a Stop would wait for one of them. Over HTTP/2
 * `useStream` alone would do.
 */
export function useVisibleStream(
  id: string | undefined,
  options: UseStreamOptions,
  resting = false,
): UseStreamResult {
  const watching = useSyncExternalStore(onVisibilityChange, isVisible) && !resting;
  const [last, setLast] = useState<{ id: string | undefined; snapshot: Snapshot }>();
  const kept = last && last.id === id ? last.snapshot : undefined;
  const stream = useStream(watching ? id : undefined, {
    ...options,
    initial: kept ? resumable(kept) : options.initial,
  });
  useEffect(() => {
    if (watching) setLast({ id, snapshot: stream });
  }, [watching, id, stream]);
  return watching || !kept ? stream : { ...kept, stop: stream.stop };
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
