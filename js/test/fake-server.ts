/** A server in memory that follows docs/http.md, with connections that a test can cut. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Part } from "../src/index.js";
import { endFrame, type Ending, frame, offset } from "./wire.js";

class FakeStream {
  readonly messages: Part[] = [];
  ending: Ending | undefined;
  changed!: Promise<void>;
  #wake!: () => void;

  constructor(readonly internalId: number) {
    this.#renew();
  }

  append(...parts: Part[]): void {
    this.messages.push(...parts);
    this.#renew();
  }

  end(ending: Ending = { status: "done" }): void {
    this.ending ??= ending;
    this.#renew();
  }

  #renew(): void {
    this.#wake?.();
    this.changed = new Promise((resolve) => (this.#wake = resolve));
  }
}

export class FakeServer {
  readonly requests: string[] = [];
  readonly streams = new Map<string, FakeStream>();
  /** For each stream, the number of POSTs that start it. */
  readonly starts = new Map<string, number>();
  /** Delay all data until the response ends, as a buffering proxy does. */
  buffering = false;
  /** Answer every request with this status, as a proxy does while its server restarts. */
  down: number | undefined;
  readonly #sockets = new Set<Socket>();
  readonly #server: Server = createServer((request, response) => {
    this.#handle(request, response).catch(() => response.destroy());
  });
  #created = 0;

  async listen(): Promise<string> {
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Break every connection, as a lost network does. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  create(id: string): FakeStream {
    const stream = new FakeStream(++this.#created);
    this.streams.set(id, stream);
    return stream;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://fake.invalid");
    this.requests.push(`${request.method} ${request.url}`);
    if (this.down !== undefined) return void response.writeHead(this.down).end();
    const [, id = "", action] = url.pathname.split("/");
    const stream = this.streams.get(id);
    if (!stream) return problem(response, 404, "not_found");
    if (request.method === "POST" && action === "cancel") {
      stream.end({ status: "cancelled" });
      return void response.writeHead(204).end();
    }
    if (request.method === "POST") this.starts.set(id, (this.starts.get(id) ?? 0) + 1);
    const at = url.searchParams.get("offset") ?? "-1";
    const tail = stream.messages.length;
    const [, name, position] = /^(\d{16})_(\d{16})(?:\.end)?$/.exec(at) ?? [, "0", "0"];
    if (Number(name) && (Number(name) !== stream.internalId || Number(position) > tail)) {
      return problem(response, 410, "offset_gone");
    }
    if (url.searchParams.get("format") === "json")
      return this.#json(stream, Number(position), response);
    if (at.endsWith(".end")) return void response.writeHead(204).end();
    await this.#events(stream, Number(position), response);
  }

  #json(stream: FakeStream, after: number, response: ServerResponse): void {
    const { messages, ending, internalId } = stream;
    const end = { status: messages.length ? "streaming" : "pending", ...ending };
    const body = {
      parts: messages.slice(after),
      offset: offset(messages.length, internalId) + (ending ? ".end" : ""),
      ...end,
    };
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
  }

  async #events(stream: FakeStream, after: number, response: ServerResponse): Promise<void> {
    response.writeHead(200, { "content-type": "text/event-stream" });
    const held: string[] = [];
    const send = (bytes: string) => (this.buffering ? held.push(bytes) : response.write(bytes));
    const gone = new Promise<void>((resolve) => response.on("close", resolve));
    send("retry: 20\n: ping\n\n");
    for (let at = after; !response.destroyed;) {
      const { changed } = stream;
      for (; at < stream.messages.length; at++) {
        send(frame(at + 1, stream.messages[at], stream.internalId));
      }
      if (stream.ending) {
        send(endFrame(at, stream.ending, stream.internalId));
        return void response.end(held.join(""));
      }
      await Promise.race([changed, gone]);
    }
  }
}

function problem(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, { "content-type": "application/problem+json" });
  response.end(JSON.stringify({ status, code, title: code }));
}
