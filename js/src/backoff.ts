/** The longest random wait before a request. During the wait, the page shows no new text. */
const CAP_MS = 5_000;
/**
 * The longest wait that a server may ask for. Without this limit, the client would not wait at all
 * if a server asked for more than 24 days, because such a timer fires at once.
 */
const ASKED_MS = 300_000;

/**
 * The longest random wait after a first failure, unless the server's `retry:` gives another limit.
 * Each further failure doubles the limit.
 */
export const BASE_MS = 1_000;

/** Return a random wait, so that a thousand readers do not all reconnect at the same moment. */
export function backoffMs(failures: number, baseMs: number): number {
  return Math.random() * Math.min(CAP_MS, baseMs * 2 ** failures);
}

/** Return whether a later request may succeed, because the server is only busy or restarting. */
export function isPassing(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || status >= 502;
}

/** Return the wait that `Retry-After` asks for, at most 300 s. Without this header, return 0. */
export function retryAfterMs({ headers }: Response): number {
  const value = headers.get("retry-after") ?? "";
  const ms = /^\d+$/.test(value) ? +value * 1_000 : Date.parse(value) - Date.now();
  return ms > 0 ? Math.min(ms, ASKED_MS) : 0;
}
