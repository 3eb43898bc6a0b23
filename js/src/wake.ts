/**
 * `moved`: connections made before are as good as lost (another network, or the page was frozen).
 * `shown`: somebody looks again; timers may have slept, and a connection may have died unnoticed.
 */
export type Wake = "moved" | "shown";

/** Call `listener` when the page wakes; a no-op where there is no page. Returns how to stop. */
export function onWake(listener: (wake: Wake) => void): () => void {
  const { window: page, document: doc } = globalThis as Partial<typeof globalThis>;
  // React Native has a window that hears nothing.
  if (!page?.addEventListener || !doc) return () => {};
  const online = () => listener("moved");
  const pageshow = (event: PageTransitionEvent) => event.persisted && listener("moved");
  const visible = () => doc.visibilityState === "visible" && listener("shown");
  page.addEventListener("online", online);
  page.addEventListener("pageshow", pageshow);
  doc.addEventListener("visibilitychange", visible);
  return () => {
    page.removeEventListener("online", online);
    page.removeEventListener("pageshow", pageshow);
    doc.removeEventListener("visibilitychange", visible);
  };
}
