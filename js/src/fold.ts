import { isKnown, isObject } from "./shapes.js";
import type { DataPart, DataTypes, KnownPart, Message, MessagePart, Part } from "./vocabulary.js";

type Shown = Record<string, unknown>;
type Of<Type> = Extract<KnownPart, { type: Type }>;
type Fields = Readonly<Record<string, string>>;

const CALL = { providerExecuted: "providerExecuted", toolMetadata: "toolMetadata" };
const INPUT: Fields = { ...CALL, title: "title", providerMetadata: "callProviderMetadata" };
const OUTPUT: Fields = { ...CALL, providerMetadata: "resultProviderMetadata" };
const APPROVAL: Fields = {
  approvalDescriptor: "descriptor",
  inputSchemaInput: "inputSchemaInput",
  signature: "signature",
};
/** Keys that `merged` must not copy, because they could change all objects of the page. */
const UNSAFE = ["__proto__", "constructor", "prototype"];
const LATE = ["output", "errorText", "preliminary"];
const BEGUN_ANEW = [...LATE, "rawInput", "approval", "inputEncoding", "toolName", "input"];
const SHOWN_AS_IT_IS: Readonly<Record<string, readonly string[]>> = {
  "source-url": ["type", "sourceId", "url", "title", "providerMetadata"],
  "source-document": ["type", "sourceId", "mediaType", "title", "filename", "providerMetadata"],
  file: ["type", "mediaType", "url", "providerMetadata"],
};

/**
 * Fold stored parts into the message that a page shows, exactly as `inkstream.parts.fold` does.
 *
 * Each part of the message with text or reasoning has a `state`, which is `streaming` or `done`.
 * All stored parts of a tool call become one part of the message. A delta is left out if its
 * reasoning or tool call has not begun or has ended. The application's own objects become parts of
 * type `data-part`. The cost is linear in the number of parts. With `ended`, no text or reasoning
 * stays `streaming`.
 */
export function fold<Data extends DataTypes = DataTypes>(
  parts: Iterable<Part<Data>>,
  { ended = false }: { ended?: boolean } = {},
): Message<Data> {
  const folding = new Folding();
  for (const part of parts) folding.add(part as Part);
  return folding.message(ended) as Message<Data>;
}

class Folding {
  readonly #parts: Shown[] = [];
  #metadata: Shown | undefined;
  #text: { type: string; text: string; state: string } | undefined;
  // Maps instead of objects, because an id may be `__proto__`.
  readonly #reasoning = new Map<string, Shown>();
  readonly #calls = new Map<string, Shown>();
  readonly #outstanding = new Set<string>();
  readonly #data = new Map<string, Shown>();

  message(ended: boolean): Message {
    if (ended) {
      this.#endText();
      this.#endReasoning();
    }
    const parts = this.#parts as unknown as MessagePart[];
    return this.#metadata ? { parts, metadata: this.#metadata } : { parts };
  }

  add(part: Part): void {
    if (typeof part === "string") {
      if (part === "") return;
      this.#text ??= this.#show({ type: "text", text: "", state: "streaming" });
      this.#text.text += part;
      return;
    }
    this.#endText();
    if (!isKnown(part)) {
      this.#show({ type: "data-part", data: part });
      return;
    }
    switch (part.type) {
      case "reasoning-start":
      case "reasoning-delta":
      case "reasoning-end":
        return this.#addReasoning(part);
      case "tool-input-start":
      case "tool-input-delta":
      case "tool-input-available":
      case "tool-input-error":
        return this.#addInput(part);
      case "tool-approval-request":
      case "tool-output-available":
      case "tool-output-error":
      case "tool-output-denied":
        return this.#addOutput(part);
      case "message-metadata":
        this.#metadata = merged(this.#metadata ?? {}, part.messageMetadata);
        return;
      case "start-step":
        this.#show({ type: "step-start" });
        return;
      case "finish-step":
        return this.#endReasoning();
      case "source-url":
      case "source-document":
      case "file":
        this.#show(only(part, SHOWN_AS_IT_IS[part.type] ?? []));
        return;
      default:
        this.#addData(part);
    }
  }

  #show<T extends Shown>(shown: T): T {
    this.#parts.push(shown);
    return shown;
  }

  #endText(): void {
    if (this.#text) this.#text.state = "done";
    this.#text = undefined;
  }

  #endReasoning(): void {
    for (const shown of this.#reasoning.values()) shown["state"] = "done";
    this.#reasoning.clear();
  }

  #addReasoning(part: Of<`reasoning-${string}`>): void {
    const { id } = part;
    let shown = this.#reasoning.get(id);
    if (part.type === "reasoning-start") {
      if (shown) shown["state"] = "done";
      shown = this.#show({ type: "reasoning", id, text: "", state: "streaming" } as Shown);
      this.#reasoning.set(id, shown);
    }
    if (!shown) return;
    Object.assign(shown, only(part, ["providerMetadata"]));
    if (part.type === "reasoning-delta") shown["text"] = `${shown["text"]}${part.delta}`;
    if (part.type === "reasoning-end") {
      shown["state"] = "done";
      this.#reasoning.delete(id);
    }
  }

  #addInput(part: Of<`tool-input-${string}`>): void {
    const { toolCallId } = part;
    let call = this.#calls.get(toolCallId);
    if (part.type === "tool-input-delta") {
      if (call?.["state"] !== "input-streaming") return;
      call["rawInput"] = `${call["rawInput"] ?? ""}${part.inputTextDelta}`;
      return;
    }
    if (!call) this.#calls.set(toolCallId, (call = this.#show({ type: "", toolCallId } as Shown)));
    this.#outstanding.add(toolCallId);
    for (const name of BEGUN_ANEW) delete call[name];
    const { dynamic, toolName } = part;
    Object.assign(
      call,
      dynamic === true ? { type: "dynamic-tool", toolName } : { type: `tool-${toolName}` },
      renamed(part, INPUT),
    );
    if (part.type === "tool-input-start") {
      Object.assign(call, { state: "input-streaming" }, only(part, ["inputEncoding"]));
      return;
    }
    call["input"] = part.input;
    call["state"] = part.type === "tool-input-available" ? "input-available" : "output-error";
    Object.assign(call, only(part, ["errorText"]));
  }

  #addOutput(part: Of<`tool-output-${string}` | "tool-approval-request">): void {
    const { toolCallId } = part;
    const call = this.#calls.get(toolCallId);
    if (!call || !this.#outstanding.has(toolCallId)) return;
    delete call["rawInput"];
    if (part.type === "tool-approval-request") {
      call["state"] = "approval-requested";
      call["approval"] = { id: part.approvalId, ...renamed(part, APPROVAL) };
      return;
    }
    for (const name of LATE) delete call[name];
    Object.assign(call, renamed(part, OUTPUT), only(part, ["output", "errorText"]));
    call["state"] = part.type.slice("tool-".length);
    if (part.type === "tool-output-available" && part.preliminary) call["preliminary"] = true;
    else this.#outstanding.delete(toolCallId);
  }

  #addData(part: DataPart): void {
    if (part.transient) return;
    const name = part.id === undefined ? undefined : JSON.stringify([part.type, part.id]);
    const before = name === undefined ? undefined : this.#data.get(name);
    if (before) {
      before["data"] = part.data;
      return;
    }
    const shown = this.#show(only(part, ["type", "id", "data"]));
    if (name !== undefined) this.#data.set(name, shown);
  }
}

function only(part: object, names: readonly string[]): Shown {
  return renamed(part, Object.fromEntries(names.map((name) => [name, name])));
}

function renamed(part: object, names: Fields): Shown {
  const shown: Shown = {};
  for (const [name, as] of Object.entries(names)) {
    if (Object.hasOwn(part, name)) shown[as] = (part as Shown)[name];
  }
  return shown;
}

/** Merge objects, including objects inside them. */
function merged(base: Shown, more: Shown): Shown {
  const all: Shown = { ...base };
  for (const [key, value] of Object.entries(more)) {
    if (UNSAFE.includes(key)) continue;
    const before = Object.hasOwn(all, key) ? all[key] : undefined;
    all[key] = isObject(value) ? merged(isObject(before) ? before : {}, value) : value;
  }
  return all;
}
