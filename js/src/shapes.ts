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

/** Checks of the fields that are not text. `isKnown` ignores fields that it does not know. */
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

/**
 * Return whether `url` is safe: as a link, if `kind` is `source-url`, or as the address of a file
 * that the page shows, if `kind` is `file`.
 */
export function isSafeLink(kind: keyof typeof SCHEMES, url: string): boolean {
  // A browser removes spaces and control characters before it reads the scheme.
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(url.replace(/[\0-\x20]+/g, ""))?.[1];
  return scheme === undefined || SCHEMES[kind].includes(scheme.toLowerCase());
}

/**
 * Return whether a part is well-formed and of a known type. Other parts are text, or objects of the
 * application's own. A part with a link that could run a script counts as such an object.
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

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
