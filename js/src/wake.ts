/**
 * `moved`: connections made before are as good as lost (another network, or the page was frozen).
 * `shown`: somebody looks again; timers may have slept, and a connection may have died unnoticed.
 */
export type Wake = "moved" | "shown";

/** Call `listener` when the page wakes, until `signal` aborts; a no-op where there is no page. */
export function onWake(listener: (wake: Wake) => void, signal: AbortSignal): void {
  const { window: page, document: doc } = globalThis as Partial<typeof globalThis>;
  // React Native has a window that hears nothing.
  if (!page?.addEventListener || !doc) return;
  const until = { signal };
  page.addEventListener("online", () => listener("moved"), until);
  page.addEventListener("pageshow", (event) => event.persisted && listener("moved"), until);
  doc.addEventListener(
    "visibilitychange",
    () => doc.visibilityState === "visible" && listener("shown"),
    until,
  );
}
