/** How long to wait before asking again. */

const CAP_MS = 15_000;

/** The base that doubles with every failure, unless the server's `retry:` names another. */
export const BASE_MS = 1_000;

/** Return a wait with full jitter, so that a thousand readers do not come back in one moment. */
export function backoffMs(failures: number, baseMs: number): number {
  return Math.random() * Math.min(CAP_MS, baseMs * 2 ** failures);
}

/** Return what a `Retry-After` header asks for, in seconds or as a date; 0 if it asks for nothing. */
export function retryAfterMs(value: string | null): number {
  if (value === null) return 0;
  const ms = /^\d+$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.now();
  return ms > 0 ? ms : 0;
}
