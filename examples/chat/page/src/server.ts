import type { Initial, Part, Status } from "inkstream";

export const STREAMS = "/api/streams";

export interface Chat {
  id: string;
  title: string;
  changed_at: number;
  /** The stream id of the answer that is being written. */
  live: string | null;
}

/** A question and its answer, with the turns of all versions of the question and the answer. */
export interface Turn {
  id: number;
  parent_id: number;
  prompt: string;
  stream_id: string;
  asked_at: number;
  /** For each version of the question, the id of a turn; one of these ids is this turn's. */
  questions: number[];
  /** The ids of all turns that answer this version of the question, this turn included. */
  answers: number[];
  offset?: string;
  parts?: Part[];
  end?: { status: Status; code: string | null; message: string | null; result: unknown } | null;
}

export interface Everything {
  chats: Chat[];
  offset: string;
  about: {
    name: string;
    prompt_characters: number;
    /** The questions that the server's written texts answer; empty if a model answers. */
    questions: string[];
  };
}

/**
 * A message of the feed: a new or changed chat, an ended answer, or a deleted chat. If `after` is
 * set, the chat's turns have changed below that turn.
 */
export interface News {
  chat?: Partial<Chat> & { id: string };
  after?: number;
  ended?: string;
  deleted?: string;
}

/** Return the text that the page already has, so that `useStream` does not fetch it again. */
export function initialOf({ offset, parts, end }: Turn): Initial | undefined {
  if (!offset || !parts) return undefined;
  if (!end) return { offset, parts };
  const { status, result, ...error } = end;
  const failed = status === "error" || status === "timeout";
  return { offset, parts, status, result, error: failed ? error : null };
}

/** Return the server's response. Repeat the request every second until it succeeds. */
export async function load<T>(address: string, signal?: AbortSignal): Promise<T> {
  for (;;) {
    try {
      const response = await fetch(address, { signal });
      if (response.ok) return (await response.json()) as T;
    } catch {
      // The server is unreachable, or restarting.
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
    signal?.throwIfAborted();
  }
}

const REFUSALS: Record<string, string> = {
  too_many_streams: "An answer is still being written. Stop it, or wait for its end.",
};

/** Send a request. If the server refuses it, `refusal` is a sentence for the user. */
export async function send<T>(
  method: string,
  address: string,
  body?: unknown,
): Promise<{ refusal: string; answer?: T }> {
  try {
    const response = await fetch(address, {
      method,
      headers: { "content-type": "application/json" },
      body: body === undefined ? null : JSON.stringify(body),
      keepalive: true, // so that the request arrives even if the user leaves the page
    });
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return { refusal: "", answer };
    const { code, detail } = answer;
    const told = REFUSALS[code] ?? detail;
    return { refusal: typeof told === "string" ? told : `The server said ${response.status}.` };
  } catch {
    return { refusal: "The server cannot be reached. Try again." };
  }
}
