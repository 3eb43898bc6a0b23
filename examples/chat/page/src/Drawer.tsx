import { type ReactNode, useEffect, useRef, useState } from "react";
import { Icon } from "./Icon";

/** A dialog at the side, for narrow windows. Escape or a tap beside the dialog closes it. */
export function Drawer({ children }: { children: ReactNode }) {
  const [open, setOpen] = useState(false);
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open) dialog.current?.showModal();
  }, [open]);
  useEffect(() => {
    const close = () => dialog.current?.close();
    addEventListener("popstate", close);
    return () => removeEventListener("popstate", close);
  }, []);
  return (
    <>
      <button className="icon" aria-label="Conversations" onClick={() => setOpen(true)}>
        <Icon name="menu" />
      </button>
      <dialog
        ref={dialog}
        className="side"
        aria-label="Conversations"
        onClose={() => setOpen(false)}
        onClick={(event) => event.target === dialog.current && dialog.current.close()}
      >
        {open && (
          <nav aria-label="Conversations">
            <button className="icon" aria-label="Close" onClick={() => dialog.current?.close()}>
              <Icon name="close" />
            </button>
            {children}
          </nav>
        )}
      </dialog>
    </>
  );
}
