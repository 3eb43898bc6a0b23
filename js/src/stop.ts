import { BASE_MS, backoffMs, isPassing, retryAfterMs } from "./backoff.js";
import { readProblem } from "./problem.js";
import { InkstreamError } from "./types.js";

const TRIES = 3;

/**
 * Ask for the end of a stream until somebody agrees, or `isOver` says that it has ended.
 *
 * A server that is restarting, or a network that is away, is tried again twice: whoever pressed
 * Stop should not have to press it again.
 *
 * @throws InkstreamError if the server refuses, or none was reached.
 */
export async function requestStop(
  post: () => Promise<Response>,
  isOver: () => boolean,
): Promise<void> {
  for (let tries = 1; !isOver(); tries++) {
    const response = await post().catch(() => undefined);
    if (response?.ok) return;
    if (tries === TRIES || (response && !isPassing(response.status))) {
      throw new InkstreamError(
        response ? await readProblem(response) : { code: "unreachable", message: null },
      );
    }
    const ms = backoffMs(tries, BASE_MS) + (response ? retryAfterMs(response) : 0);
    await new Promise((resolve) => setTimeout(resolve, ms));
  }
}
