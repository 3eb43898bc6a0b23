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

/** A stream's refusal in a response for several streams. */
export interface Refusal {
  readonly status: number;
  readonly code: string;
  /** The value of the header `Retry-After`. */
  readonly retry_after?: string;
}

/** Turn a stream's refusal on a shared connection into a response that refuses only this stream. */
export function refusal(refused: Refusal): Response {
  const { status, retry_after = "" } = refused;
  return new Response(JSON.stringify(refused), {
    status: status < 400 ? 502 : status,
    headers: { "retry-after": retry_after },
  });
}
