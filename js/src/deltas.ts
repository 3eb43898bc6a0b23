import type { Part } from "./vocabulary.js";

/** A part that adds text to reasoning, or to a tool's input. */
export type Delta = Record<string, string>;

const FIELDS = new Map<unknown, readonly [id: string, text: string]>([
  ["reasoning-delta", ["id", "delta"]],
  ["tool-input-delta", ["toolCallId", "inputTextDelta"]],
]);

/** Return the name of a delta's text field; undefined if `part` is no delta or has other fields. */
export function deltaText(part: Part | undefined): string | undefined {
  const values = part as Delta | null | undefined; // a log may contain null
  const fields = FIELDS.get(values?.["type"]);
  if (!values || !fields) return undefined;
  const [id, text] = fields;
  const whole = typeof values[id] === "string" && typeof values[text] === "string";
  return whole && Object.keys(values).length === 3 ? text : undefined;
}

/** Join two deltas of the same reasoning or the same tool input; otherwise return undefined. */
export function joined(before: Part | undefined, part: Part): Part | undefined {
  const text = deltaText(part);
  if (text === undefined || deltaText(before) !== text) return undefined;
  const [one, other] = [before as Delta, part as Delta];
  const [id] = FIELDS.get(other["type"]) as [string, string];
  if (one[id] !== other[id]) return undefined;
  // JavaScript engines join strings lazily, so a delta costs only its own length.
  return { ...one, [text]: (one[text] as string) + (other[text] as string) };
}
