import { isEnded, useStream } from "inkstream/react";
import { useEffect, useEffectEvent, useState } from "react";
import { STREAMS } from "./server";

/** What a screen reader says at the end of an answer, because it does not read the tokens. */
const ENDS: Record<string, string> = { done: "The answer is complete.", cancelled: "Stopped." };

/** Return whether an answer is being written, and how to stop it. Announce its start and end. */
export function useLive(streamId: string | null, say: (sentence: string) => void) {
  // Follow the answer's own stream to its end, because the list of conversations may learn of that
  // end earlier or later than this stream.
  const [followed, follow] = useState(streamId);
  if (streamId && streamId !== followed) follow(streamId);
  const { status, stop, stopping } = useStream(followed, { url: STREAMS });
  const busy = followed !== null && !isEnded(status);

  const tell = useEffectEvent(say);
  useEffect(() => {
    if (busy) tell("The answer began.");
  }, [busy, followed]);
  const end = followed !== null && isEnded(status) ? status : undefined;
  useEffect(() => {
    if (end) tell(ENDS[end] ?? "The answer failed.");
  }, [end, followed]);
  return { busy, stop, stopping };
}
