import type { StreamError } from "./types.js";

/** Return why a request was refused: from a problem document (RFC 9457), or from the status. */
export async function readProblem(response: Response): Promise<StreamError> {
  const problem = await response.json().catch(() => undefined);
  const word = (...names: string[]): string | undefined =>
    names.map((name) => problem?.[name]).find((value) => typeof value === "string");
  return {
    code: word("code") ?? `http_${response.status}`,
    message: word("detail", "title") ?? (response.statusText || null),
    http: response.status,
  };
}

/** Turn a stream's refusal on a shared connection into a response that refuses only this stream. */
export function refusal(data: string): Response {
  const { status } = JSON.parse(data) as { status: number };
  return new Response(data, { status: status < 400 ? 502 : status });
}
