import { useEffect, useState } from "react";

const SHOWN_MS = 8000;

/** A sentence for the user that disappears by itself. */
export function useNotice(): [notice: string, tell: (notice: string) => void] {
  const [notice, tell] = useState("");
  useEffect(() => {
    if (!notice) return;
    const timer = setTimeout(() => tell(""), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [notice]);
  return [notice, tell];
}
