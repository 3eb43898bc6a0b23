import { getToolName, isToolUIPart, type UIMessage } from "ai";

/** One part of a message. The output of a model or a tool is shown as text, never as HTML. */
export function Part({ part }: { part: UIMessage["parts"][number] }) {
  if (part.type === "text") return <p className="text">{part.text}</p>;
  if (part.type === "reasoning") {
    return (
      <details className="reasoning" open>
        <summary>{part.state === "streaming" ? "Thinking…" : "Thought"}</summary>
        {part.text}
      </details>
    );
  }
  if (isToolUIPart(part)) {
    return (
      <div className="tool" data-state={part.state}>
        <b>{getToolName(part)}</b> <code>{JSON.stringify(part.input)}</code>
        {part.state === "output-available" && <code> → {JSON.stringify(part.output)}</code>}
        {part.state === "output-error" && <i> {part.errorText}</i>}
      </div>
    );
  }
  if (part.type === "source-url") {
    return (
      <a className="source" href={part.url} rel="noreferrer nofollow" target="_blank">
        {part.title ?? part.url}
      </a>
    );
  }
  return null;
}
