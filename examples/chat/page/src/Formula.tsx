import katex from "katex";

/** A formula as MathML, which browsers draw without fonts. This module is loaded when needed. */
export default function Formula({ tex, display }: { tex: string; display: boolean }) {
  try {
    const html = katex.renderToString(tex, { displayMode: display, output: "mathml" });
    return (
      <span className={display ? "wide formula" : ""} dangerouslySetInnerHTML={{ __html: html }} />
    );
  } catch {
    return <code>{tex}</code>; // the formula is incomplete while it is being written
  }
}
