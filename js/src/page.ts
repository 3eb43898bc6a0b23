/**
 * `moved`: connections made before are as good as lost (another network, or the page was frozen).
 * `shown`: somebody looks again; timers may have slept, and a connection may have died unnoticed.
 * `hidden`: nobody can see the page.
 */
export type PageChange = "moved" | "shown" | "hidden";

/** Tell whether there is a page, and nobody can see it. */
export function isHidden(): boolean {
  return globalThis.document?.visibilityState === "hidden";
}

/** Call `listener` when the page changes, until `signal` aborts; a no-op where there is no page. */
export function onPageChange(listener: (change: PageChange) => void, signal: AbortSignal): void {
  const { window: page, document: doc } = globalThis as Partial<typeof globalThis>;
  // React Native has a window that hears nothing.
  if (!page?.addEventListener || !doc) return;
  const until = { signal };
  page.addEventListener("online", () => listener("moved"), until);
  page.addEventListener("pageshow", (event) => event.persisted && listener("moved"), until);
  doc.addEventListener("visibilitychange", () => listener(isHidden() ? "hidden" : "shown"), until);
}
