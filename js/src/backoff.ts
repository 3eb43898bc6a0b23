/** How long to wait before asking again. */

/** Short: the wait is what an outage outlives itself by on the screen. */
const CAP_MS = 5_000;

/** The base that doubles with every failure, unless the server's `retry:` names another. */
export const BASE_MS = 1_000;

/** Return a wait with full jitter, so that a thousand readers do not come back in one moment. */
export function backoffMs(failures: number, baseMs: number): number {
  return Math.random() * Math.min(CAP_MS, baseMs * 2 ** failures);
}

/** Tell whether a refusal passes by itself: the server is busy, restarting, or behind a proxy. */
export function isPassing(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || status >= 502;
}

/** Return what a `Retry-After` header asks for, in seconds or as a date; 0 without one. */
export function retryAfterMs({ headers }: Response): number {
  const value = headers.get("retry-after") ?? "";
  const ms = /^\d+$/.test(value) ? +value * 1_000 : Date.parse(value) - Date.now();
  return ms > 0 ? ms : 0;
}
