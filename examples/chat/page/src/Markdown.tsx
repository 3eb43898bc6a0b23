import { Lexer, type Token } from "marked";
import {
  Children,
  isValidElement,
  lazy,
  memo,
  Suspense,
  useDeferredValue,
  useMemo,
  useRef,
} from "react";
import ReactMarkdown, { type Components } from "react-markdown";
import remarkGfm from "remark-gfm";
import remarkMath from "remark-math";
import { Code } from "./Code";

const Formula = lazy(() => import("./Formula"));

/**
 * A model's Markdown, which is text from an untrusted source. So HTML is shown as text, and only
 * links with one of the SCHEMES work. An image is named and not loaded, because loading an image
 * would send a request to the image's owner.
 */
export function Markdown({ text }: { text: string }) {
  // Rendering is deferred, so that a long answer does not delay typing. Only changed blocks are
  // parsed again; parsing the whole text for each token would take quadratic time.
  const shown = useDeferredValue(text);
  const known = useRef<Token[]>([]);
  const blocks = useMemo(() => split(shown, known), [shown]);
  return blocks.map((block, index) => <Block key={index} text={block} />);
}

/**
 * Cut a growing text into blocks. New text may change the last two blocks: a line with `#` at first
 * looks like a heading, and may then belong to the paragraph before. Earlier blocks that end with
 * an empty line never change.
 */
function tokenize(text: string, known: readonly Token[]): Token[] {
  const [before] = known.filter(({ type }) => type !== "space").slice(-2);
  let end = before ? known.indexOf(before) : 0;
  while (end > 0 && !/\n\s*\n$/.test(known[end - 1]?.raw ?? "")) end--;
  const kept = known.slice(0, end);
  const start = kept.map(({ raw }) => raw).join("");
  if (!text.startsWith(start)) return tokenize(text, []);
  return [...kept, ...new Lexer({ gfm: true }).blockTokens(text.slice(start.length), [])];
}

/** Cut a text into blocks that can be parsed alone. A block with `[` gets all link definitions. */
function split(text: string, known: { current: Token[] }): string[] {
  const unified = text.replace(/\r\n?/g, "\n");
  // A text with footnotes stays one block, because footnotes are numbered through the whole text.
  if (/^ {0,3}\[\^[^\]]+\]:/m.test(unified)) return [unified];
  const tokens = (known.current = tokenize(unified, known.current));
  const addresses = tokens.filter(({ type }) => type === "def").map(({ raw }) => raw.trim());
  const before = addresses.length ? `${addresses.join("\n")}\n\n` : "";
  return tokens
    .filter(({ type }) => type !== "def" && type !== "space")
    .map(({ type, raw }) => {
      if (type === "code" || type === "html") return raw;
      return (raw.includes("[") ? before : "") + withDollars(raw);
    });
}

const MATHEMATICS = new RegExp(
  [
    /(`+)[^]*?\1(?!`)/, // code, where a dollar sign never begins a formula
    /\\\[([^]+?)\\\]/,
    /\\\(([^]+?)\\\)/,
    /(?<![\\$\w])\$(?![\s$])([^$\n]*[^\s$\\])\$(?![\w$])/, // Pandoc's rule: "$5 or $6" is money
  ]
    .map(({ source }) => source)
    .join("|"),
  "g",
);

/** Mark formulas with `$$`, because remark-math is configured to read only `$$`. */
function withDollars(raw: string): string {
  return raw.replace(MATHEMATICS, (all, _, display, inline, dollars) => {
    if (display !== undefined && raw.trim() === all) return `$$\n${display.trim()}\n$$`;
    const tex = display ?? inline ?? dollars;
    return tex === undefined ? all : `$$${tex.trim()}$$`;
  });
}

const SCHEMES = /^(https?|mailto):/i;
const PLUGINS = [remarkGfm, [remarkMath, { singleDollarTextMath: false }]] as const;

const Block = memo(({ text }: { text: string }) => (
  <ReactMarkdown
    remarkPlugins={[...PLUGINS] as never}
    components={COMPONENTS}
    urlTransform={(url, key) =>
      SCHEMES.test(url) || (key === "href" && url.startsWith("#")) ? url : ""
    }
  >
    {text}
  </ReactMarkdown>
));

const COMPONENTS: Components = {
  a: ({ href, children, id }) => {
    if (!href) return <>{children}</>;
    if (href.startsWith("#")) return <span id={id}>{children}</span>;
    return (
      <a href={href} target="_blank" rel="noopener noreferrer nofollow">
        {children}
      </a>
    );
  },
  input: ({ checked }) => (
    <input type="checkbox" checked={checked} disabled aria-label={checked ? "Done" : "To do"} />
  ),
  img: ({ alt }) => <em>[image{alt ? `: ${alt}` : ""}]</em>,
  table: ({ children }) => (
    <div className="wide" role="group" aria-label="Table" tabIndex={0}>
      <table>{children}</table>
    </div>
  ),
  pre: ({ children }) => {
    const code = Children.toArray(children)[0];
    if (!isValidElement<{ className?: string; children?: unknown }>(code))
      return <pre>{children}</pre>;
    const language = /language-(\S+)/.exec(code.props.className ?? "")?.[1] ?? "";
    const text = String(code.props.children ?? "");
    return language === "math" ? mathematics(text, true) : <Code language={language} text={text} />;
  },
  code: ({ className, children }) =>
    className?.includes("math-inline") ? (
      mathematics(String(children), false)
    ) : (
      <code>{children}</code>
    ),
};

function mathematics(tex: string, display: boolean) {
  return (
    <Suspense fallback={<code>{tex}</code>}>
      <Formula tex={tex} display={display} />
    </Suspense>
  );
}
