/** Which objects are well-formed parts. All others are the application's own. */
import type { OwnPart, Part } from "./vocabulary.js";

const REQUIRED = new Map<string, readonly string[]>([
  ["reasoning-start", ["id"]],
  ["reasoning-delta", ["id", "delta"]],
  ["reasoning-end", ["id"]],
  ["tool-input-start", ["toolCallId", "toolName"]],
  ["tool-input-delta", ["toolCallId", "inputTextDelta"]],
  ["tool-input-available", ["toolCallId", "toolName", "input"]],
  ["tool-input-error", ["toolCallId", "toolName", "input", "errorText"]],
  ["tool-approval-request", ["approvalId", "toolCallId"]],
  ["tool-output-available", ["toolCallId", "output"]],
  ["tool-output-error", ["toolCallId", "errorText"]],
  ["tool-output-denied", ["toolCallId"]],
  ["source-url", ["sourceId", "url"]],
  ["source-document", ["sourceId", "mediaType", "title"]],
  ["file", ["url", "mediaType"]],
  ["start-step", []],
  ["finish-step", []],
  ["message-metadata", ["messageMetadata"]],
]);
const DATA = ["data"];

type Check = (value: unknown) => boolean;
const isText: Check = (value) => typeof value === "string";
const isFlag: Check = (value) => typeof value === "boolean";
const isAnything: Check = () => true;

/** Fields that are not text. A field that no part has is not looked at. */
const CHECKS = new Map<string, Check>([
  ["input", isAnything],
  ["output", isAnything],
  ["data", isAnything],
  ["approvalDescriptor", isAnything],
  ["inputSchemaInput", isAnything],
  ["messageMetadata", isObject],
  ["toolMetadata", isObject],
  ["providerMetadata", (value) => isObject(value) && Object.values(value).every(isObject)],
  ["providerExecuted", isFlag],
  ["dynamic", isFlag],
  ["preliminary", isFlag],
  ["transient", isFlag],
  ["inputEncoding", (value) => value === "json" || value === "text"],
]);
const OPTIONAL_TEXT = ["title", "filename", "signature"];

const SCHEMES = {
  "source-url": ["http", "https", "mailto"],
  file: ["http", "https", "data", "blob"],
};

/** Tell if a page may link to (`source-url`) or show (`file`) an address: no script runs. */
export function isSafeLink(kind: keyof typeof SCHEMES, url: string): boolean {
  // A browser drops spaces and controls before it looks for the scheme.
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(url.replace(/[\0-\x20]+/g, ""))?.[1];
  return scheme === undefined || SCHEMES[kind].includes(scheme.toLowerCase());
}

/**
 * Tell if a part is a well-formed one of the vocabulary. Anything else is text, or an object of the
 * application's own: a link that would run a script too.
 */
export function isKnown<P extends Part>(part: P): part is Extract<P, { readonly type: string }> {
  if (!isObject(part) || !Object.hasOwn(part, "type")) return false;
  const own = part as OwnPart;
  const kind = own["type"];
  if (typeof kind !== "string") return false;
  const isData = kind.startsWith("data-");
  if (isData && Object.hasOwn(own, "id") && !isText(own["id"])) return false;
  const required = isData ? DATA : REQUIRED.get(kind);
  if (!required?.every((name) => Object.hasOwn(own, name))) return false;
  for (const [name, value] of Object.entries(own)) {
    const text = required.includes(name) || OPTIONAL_TEXT.includes(name);
    if (!(CHECKS.get(name) ?? (text ? isText : isAnything))(value)) return false;
  }
  return (kind !== "source-url" && kind !== "file") || isSafeLink(kind, own["url"] as string);
}

/** True for what JSON writes in braces. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
