import { createParser, type EventSourceMessage } from "eventsource-parser";

/**
 * Read a response as server-sent events, one batch (often empty) for every chunk of the network.
 *
 * Empty batches are signs of life. An event that the connection broke in half never comes out.
 * Ending the loop early gives the connection back.
 */
export async function* eventBatches(
  body: ReadableStream<Uint8Array>,
  onRetry: (ms: number) => void,
): AsyncGenerator<EventSourceMessage[]> {
  let batch: EventSourceMessage[] = [];
  const parser = createParser({ onEvent: (event) => batch.push(event), onRetry });
  const decoder = new TextDecoder();
  const chunks = body.getReader();
  try {
    for (;;) {
      const { done, value } = await chunks.read();
      if (done) return;
      parser.feed(decoder.decode(value, { stream: true }));
      yield batch;
      batch = [];
    }
  } finally {
    // Fails if the connection is lost already, which is all that is wanted.
    chunks.cancel().catch(() => {});
  }
}
