import type { MessagePart } from "inkstream/parts";
import { Markdown } from "./Markdown";

export function Parts({ parts }: { parts: readonly MessagePart[] }) {
  return parts.map((part, index) => <One key={index} part={part} />);
}

function One({ part }: { part: MessagePart }) {
  if (part.type === "text")
    return (
      <div className="text">
        <Markdown text={part.text} />
      </div>
    );
  if (part.type === "reasoning")
    return (
      <details>
        <summary>{part.state === "streaming" ? "Thinking…" : "Thoughts"}</summary>
        <p className="thoughts">{part.text}</p>
      </details>
    );
  if ("toolCallId" in part) {
    const name = part.type === "dynamic-tool" ? part.toolName : part.type.replace(/^tool-/, "");
    const told = { input: part.input ?? part.rawInput, output: part.output, error: part.errorText };
    return (
      <details>
        <summary>
          {part.title ?? name} <small>{STATES[part.state]}</small>
        </summary>
        <pre tabIndex={0}>{JSON.stringify(told, null, 2)}</pre>
      </details>
    );
  }
  if (part.type === "source-url")
    return (
      <p>
        Source:{" "}
        <a href={part.url} target="_blank" rel="noopener noreferrer nofollow">
          {part.title ?? part.url}
        </a>
      </p>
    );
  return null;
}

const STATES = {
  "input-streaming": "is called…",
  "input-available": "runs…",
  "approval-requested": "asks for permission",
  "output-available": "done",
  "output-error": "failed",
  "output-denied": "was not allowed",
};
