import { origin } from "./address.js";

/**
 * How many connections for events all windows of a browser may hold to one server. Of the browser's
 * six HTTP/1.1 connections, two stay free for Stop, pages, and other requests.
 */
const SLOTS = 4;
/** The limit of one page without Web Locks. A browser has Web Locks only for https or localhost. */
const SLOTS_OF_A_PAGE = 2;

let taken = 0;

/**
 * Take a slot until `signal` aborts, and return whether a slot was free. A slot is always free
 * outside of a page, and for the page's own server if the page came over HTTP/2 or later.
 */
export async function takeSlot(address: string, signal: AbortSignal): Promise<boolean> {
  if (!globalThis.document) return true;
  const server = origin(address);
  if (isMultiplexed(server)) return true;
  const locks = globalThis.navigator?.locks;
  if (!locks) {
    if (taken >= SLOTS_OF_A_PAGE || signal.aborted) return false;
    taken++;
    signal.addEventListener("abort", () => taken--, { once: true });
    return true;
  }
  for (let n = 0; n < SLOTS && !signal.aborted; n++) {
    if (await hold(locks, `inkstream ${server} ${n}`, signal)) return true;
  }
  return false;
}

function hold(locks: LockManager, name: string, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const until = (lock: Lock | null): Promise<void> | void => {
      resolve(lock !== null);
      if (lock === null || signal.aborted) return;
      return new Promise((free) => signal.addEventListener("abort", () => free(), { once: true }));
    };
    // A page that may not use locks (an opaque origin) must still get its text, so it gets a slot.
    locks.request(name, { ifAvailable: true }, until).catch(() => resolve(true));
  });
}

/**
 * Return whether the page came from `server` over HTTP/2 or later. One connection then carries any
 * number of streams.
 */
function isMultiplexed(server: string): boolean {
  const [page] = globalThis.performance?.getEntriesByType?.("navigation") ?? [];
  const { nextHopProtocol = "" } = (page ?? {}) as { nextHopProtocol?: string };
  return server === globalThis.location?.origin && /^h[23]/.test(nextHopProtocol);
}
