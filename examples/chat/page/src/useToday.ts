import { useSyncExternalStore } from "react";

const CHECK_MS = 10_000;

/** The beginning of today, where the browser is. It changes at midnight, and with the time zone. */
export function useToday(): number {
  return useSyncExternalStore(subscribe, () => new Date().setHours(0, 0, 0, 0));
}

/** Check often, because one timer until midnight would be late after the computer slept. */
function subscribe(check: () => void): () => void {
  const timer = setInterval(check, CHECK_MS);
  return () => clearInterval(timer);
}
