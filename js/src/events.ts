import { createParser, type EventSourceMessage } from "eventsource-parser";

/**
 * Read a response as server-sent events, one batch (often empty) for every chunk of the network.
 *
 * An empty batch shows that the connection works. An event that the connection cut in half is never
 * returned. Ending the loop early closes the connection.
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
    // This fails if the connection is already lost; that is fine.
    chunks.cancel().catch(() => {});
  }
}
