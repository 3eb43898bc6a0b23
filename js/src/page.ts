/**
 * `moved`: existing connections no longer work (the network changed, or the page was frozen).
 * `shown`: the user sees the page again. Timers may have paused, and a connection may be dead.
 * `hidden`: the user cannot see the page.
 */
export type PageChange = "moved" | "shown" | "hidden";

/** Return whether the page is hidden. Without a page, return false. */
export function isHidden(): boolean {
  return globalThis.document?.visibilityState === "hidden";
}

/** Call `listener` for changes of the page, until `signal` aborts. Without a page, do nothing. */
export function onPageChange(listener: (change: PageChange) => void, signal: AbortSignal): void {
  const { window: page, document: doc } = globalThis as Partial<typeof globalThis>;
  // React Native has a `window` that has no events.
  if (!page?.addEventListener || !doc) return;
  const until = { signal };
  page.addEventListener("online", () => listener("moved"), until);
  page.addEventListener("pageshow", (event) => event.persisted && listener("moved"), until);
  doc.addEventListener("visibilitychange", () => listener(isHidden() ? "hidden" : "shown"), until);
}
