import katex from "katex";

/** A formula as MathML, which browsers draw themselves: no fonts, no style sheet. Loaded when needed. */
export default function Formula({ tex, display }: { tex: string; display: boolean }) {
  try {
    const html = katex.renderToString(tex, { displayMode: display, output: "mathml" });
    return (
      <span className={display ? "wide formula" : ""} dangerouslySetInnerHTML={{ __html: html }} />
    );
  } catch {
    return <code>{tex}</code>; // half a formula, while it is written
  }
}
