import { type RefObject, useEffectEvent, useLayoutEffect, useRef } from "react";
import { useNotice } from "./useNotice";

export interface Live {
  busy: boolean;
  stop: () => Promise<void>;
  stopping: boolean;
}

/** Stop, by the button or by Escape. The npm package stores the stop until the server confirms. */
export function StopButton({
  live: { stop, stopping },
  field,
}: {
  live: Live;
  field: RefObject<HTMLElement | null>;
}) {
  const [refusal, refuse] = useNotice();
  const button = useRef<HTMLButtonElement>(null);
  const press = useEffectEvent(() => {
    if (!stopping) stop().catch(() => refuse("The server did not stop it. Try again."));
  });
  // This is a layout effect, because its clean-up must run before the button leaves the page.
  useLayoutEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (event.key !== "Escape" || event.isComposing || event.defaultPrevented) return;
      if (!document.querySelector("dialog[open]")) press(); // Escape closes an open dialog instead
    };
    document.addEventListener("keydown", onKeyDown);
    const pressed = button.current;
    return () => {
      document.removeEventListener("keydown", onKeyDown);
      // The button is about to go, so the field for the next question gets the focus.
      if (document.activeElement === pressed) field.current?.focus();
    };
  }, [field]);
  return (
    <>
      {refusal && <span role="alert">{refusal}</span>}
      <button
        ref={button}
        type="button"
        className="round stop"
        aria-disabled={stopping}
        aria-label={stopping ? "Stopping…" : "Stop"}
        title={stopping ? "Stopping…" : "Stop (Escape)"}
        // Ignore the second click of a double click on Send, because Stop has replaced Send.
        onClick={(event) => event.detail < 2 && press()}
      >
        <span className="square" />
      </button>
    </>
  );
}
