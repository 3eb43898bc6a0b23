import { createParser, type EventSourceMessage } from "eventsource-parser";

/** Events in batches, as they arrive. An empty batch shows that the connection works. */
export type Batches = AsyncGenerator<EventSourceMessage[], void, undefined>;

/** Read a stream to its end. Ending the loop early closes the connection. */
export async function* chunksOf<T>(body: ReadableStream<T>): AsyncGenerator<T, void, undefined> {
  const chunks = body.getReader();
  try {
    for (;;) {
      const { done, value } = await chunks.read();
      if (done) return;
      yield value;
    }
  } finally {
    // `cancel` fails if the connection is already lost. Nothing needs to be done then.
    chunks.cancel().catch(() => {});
  }
}

/**
 * Read a response as server-sent events, one batch (often empty) for every chunk of the network.
 *
 * An event that the connection cut in half is never returned.
 */
export async function* eventBatches(
  body: ReadableStream<Uint8Array>,
  onRetry?: (ms: number) => void,
): Batches {
  let batch: EventSourceMessage[] = [];
  const parser = createParser({ onEvent: (event) => batch.push(event), onRetry });
  const decoder = new TextDecoder();
  for await (const chunk of chunksOf(body)) {
    parser.feed(decoder.decode(chunk, { stream: true }));
    yield batch;
    batch = [];
  }
}
