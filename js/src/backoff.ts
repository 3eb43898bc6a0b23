/** How long to wait before the next request. */

/** The longest wait. It is short, because new text is missing on the screen during a wait. */
const CAP_MS = 5_000;

/** The longest first wait, unless the server's `retry:` sets it. Each failure doubles it. */
export const BASE_MS = 1_000;

/** Return a random wait, so that a thousand readers do not all reconnect at the same moment. */
export function backoffMs(failures: number, baseMs: number): number {
  return Math.random() * Math.min(CAP_MS, baseMs * 2 ** failures);
}

/** Return whether a retry may help: the server is busy, restarting, or behind a proxy. */
export function isPassing(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || status >= 502;
}

/** Return the wait of a `Retry-After` header (seconds or a date); 0 without such a header. */
export function retryAfterMs({ headers }: Response): number {
  const value = headers.get("retry-after") ?? "";
  const ms = /^\d+$/.test(value) ? +value * 1_000 : Date.parse(value) - Date.now();
  return ms > 0 ? ms : 0;
}
