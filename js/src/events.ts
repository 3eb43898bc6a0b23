import { createParser, type EventSourceMessage } from "eventsource-parser";

/** Events in batches. An empty batch shows that the connection works. */
export type Batches = AsyncGenerator<EventSourceMessage[], void, undefined>;

/** Yield the chunks of a body. If the caller leaves the loop early, the connection is closed. */
export async function* chunksOf<T>(body: ReadableStream<T>): AsyncGenerator<T, void, undefined> {
  const chunks = body.getReader();
  try {
    for (;;) {
      const { done, value } = await chunks.read();
      if (done) return;
      yield value;
    }
  } finally {
    // `cancel` fails if the connection is already lost, which does not matter here.
    chunks.cancel().catch(() => {});
  }
}

/**
 * Yield the server-sent events of a body: one batch, which is often empty, for each chunk.
 *
 * If a connection ends in the middle of an event, this event is never yielded.
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
