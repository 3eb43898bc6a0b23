import { useEffect, useState } from "react";
import { Icon } from "./Icon";

/** A button that copies a text, and then shows whether the browser allowed the copy. */
export function CopyButton({ text, label }: { text: string; label: string }) {
  const [said, setSaid] = useState("");
  useEffect(() => {
    if (!said) return;
    const timer = setTimeout(() => setSaid(""), 2000);
    return () => clearTimeout(timer);
  }, [said]);
  const copy = () =>
    navigator.clipboard.writeText(text).then(
      () => setSaid("Copied"),
      () => setSaid("Not allowed"),
    );
  return (
    <button
      type="button"
      className="icon"
      aria-label={said || label}
      title={said || label}
      onClick={() => void copy()}
    >
      <Icon name={said === "Copied" ? "check" : said ? "close" : "copy"} />
    </button>
  );
}
