import { type RefObject, useEffectEvent, useLayoutEffect, useRef } from "react";
import { useNotice } from "./useNotice";

export interface Live {
  busy: boolean;
  stop: () => Promise<void>;
  stopping: boolean;
}

/** Stop, by the button or by Escape; the package keeps the wish until the server has it. */
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
  // A layout effect: its end runs while the button is still there, and may have the focus.
  useLayoutEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (event.key !== "Escape" || event.isComposing || event.defaultPrevented) return;
      if (!document.querySelector("dialog[open]")) press(); // or else Escape closes that
    };
    document.addEventListener("keydown", onKeyDown);
    const pressed = button.current;
    return () => {
      document.removeEventListener("keydown", onKeyDown);
      // The button goes away: the keyboard goes on where the next question is written.
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
        // Not the second click of a double click on Send, whose place this took.
        onClick={(event) => event.detail < 2 && press()}
      >
        <span className="square" />
      </button>
    </>
  );
}
