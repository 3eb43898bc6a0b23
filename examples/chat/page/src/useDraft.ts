import { useState } from "react";

/** A text that is being written and survives a reload. It is undefined if nothing is written. */
export function useDraft(name: string): [text: string | undefined, write: (text?: string) => void] {
  const key = `inkstream-chat-${name}`;
  const [text, setText] = useState(() => sessionStorage.getItem(key) ?? undefined);
  const write = (next?: string) => {
    setText(next);
    if (next === undefined) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, next);
  };
  return [text, write];
}
