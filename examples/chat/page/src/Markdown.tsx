import { memo, useDeferredValue } from "react";
import ReactMarkdown, { type Components } from "react-markdown";

/**
 * A model's Markdown, which is a stranger's text: HTML in it is shown as text, links go where the
 * list below says and nowhere else, and images are named, not loaded (an address is a message to
 * whoever owns it).
 */
export function Markdown({ text }: { text: string }) {
  // Parsed as a whole every time, for a later line can change what an earlier one means; deferred,
  // so that a long answer does not hold up typing.
  return <Parsed text={useDeferredValue(text)} />;
}

const SCHEMES = /^(https?|mailto):/i;

const Parsed = memo(({ text }: { text: string }) => (
  <ReactMarkdown components={COMPONENTS} urlTransform={(url) => (SCHEMES.test(url) ? url : "")}>
    {text}
  </ReactMarkdown>
));

const COMPONENTS: Components = {
  a: ({ href, children }) =>
    href ? (
      <a href={href} target="_blank" rel="noopener noreferrer nofollow">
        {children}
      </a>
    ) : (
      <>{children}</>
    ),
  img: ({ alt }) => <em>[image{alt ? `: ${alt}` : ""}]</em>,
};
