/** Server-sent events in their original text, for code that forwards events. */

/** One event or one comment, with the empty line that ends it. */
export interface Block {
  readonly text: string;
  readonly event: string;
  readonly id: string | undefined;
  /** Undefined if there is no `data:` line; clients ignore such an event. */
  readonly data: string | undefined;
  readonly retryMs: number | undefined;
}

/**
 * Split text into whole events. If the connection breaks in the middle of an event, this event is
 * never forwarded, because the server sends the event again on the next connection.
 */
export class Blocks {
  readonly #end = /\r\n\r\n|\n\n|\r\r/g;
  #rest = "";

  take(chunk: string): Block[] {
    const blocks: Block[] = [];
    // The empty line that ends an event may be split between two chunks. So the search begins three
    // characters before the new chunk.
    this.#end.lastIndex = Math.max(0, this.#rest.length - 3);
    const text = this.#rest + chunk;
    let start = 0;
    while (this.#end.test(text)) {
      blocks.push(read(text.slice(start, this.#end.lastIndex)));
      start = this.#end.lastIndex;
    }
    this.#rest = text.slice(start);
    return blocks;
  }
}

function read(text: string): Block {
  let event = "message";
  let id: string | undefined;
  let retryMs: number | undefined;
  let data: string | undefined;
  for (const line of text.split(/\r\n|\n|\r/)) {
    const [, field, value = ""] = /^([^:]+)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (field === "data") data = data === undefined ? value : `${data}\n${value}`;
    else if (field === "event") event = value || event;
    else if (field === "id") id = value;
    else if (field === "retry" && /^\d+$/.test(value)) retryMs = +value;
  }
  return { text, event, id, data, retryMs };
}
