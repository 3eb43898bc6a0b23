import type { Message } from "@ag-ui/client";

const list = document.querySelector<HTMLElement>("#messages")!;

/**
 * Show messages. The output of a model or a tool is shown as text, never as HTML.
 *
 * `stopped` has the ids of the last messages of stopped runs.
 */
export function draw(messages: readonly Message[], stopped: ReadonlySet<string>): void {
  const results = new Map<string, string>();
  for (const message of messages)
    if (message.role === "tool") results.set(message.toolCallId, String(message.content));
  list.replaceChildren(
    ...messages
      .filter((message) => message.role !== "tool")
      .map((message) => {
        const item = element("li", message.role === "user" ? "user" : "assistant");
        if (message.role === "reasoning") {
          item.append(element("div", "reasoning", message.content));
        } else if (message.role === "assistant" || message.role === "user") {
          if (typeof message.content === "string" && message.content)
            item.append(element("p", "text", message.content));
        }
        if (message.role === "assistant")
          for (const { id, function: called } of message.toolCalls ?? []) {
            const result = results.get(id);
            const text = `${called.name} ${called.arguments}`;
            const tool = element("div", "tool", result === undefined ? text : `${text} → ${result}`);
            tool.dataset["state"] = result === undefined ? "running" : "done";
            item.append(tool);
          }
        if (stopped.has(message.id)) item.append(element("p", "stopped", "Stopped."));
        return item;
      }),
  );
}

function element(name: string, className: string, text = ""): HTMLElement {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}
