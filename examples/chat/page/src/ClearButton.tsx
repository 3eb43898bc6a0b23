import { useEffect, useEffectEvent, useState } from "react";
import { send } from "./messages";
import { useNotice } from "./useNotice";

const UNDO_S = 5;

/** Clear the chat in all windows, after some seconds in which it can be undone. */
export function ClearButton({ disabled }: { disabled: boolean }) {
  const [left, setLeft] = useState<number>();
  const [refusal, refuse] = useNotice();
  const clear = useEffectEvent(async () => {
    setLeft(undefined);
    refuse(await send("DELETE", "/api/messages"));
  });
  useEffect(() => {
    if (left === undefined) return;
    const timer = setTimeout(() => (left > 1 ? setLeft(left - 1) : void clear()), 1000);
    return () => clearTimeout(timer);
  }, [left]);
  return (
    <>
      {refusal && <span role="alert">{refusal}</span>}
      {left === undefined ? (
        <button className="quiet" disabled={disabled} onClick={() => setLeft(UNDO_S)}>
          Clear chat
        </button>
      ) : (
        <button className="quiet" autoFocus onClick={() => setLeft(undefined)}>
          Undo: cleared for everybody in {left} s
        </button>
      )}
    </>
  );
}
