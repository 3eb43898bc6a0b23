// Vercel's resumable-stream as its README shows it, on Node's own HTTP server:
// node resumable-stream.js FD JSON. FD is the number of a listening socket. JSON describes the load.
// The first client of a stream begins the stream, and the other clients resume it.

import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { createResumableStreamContext } from "resumable-stream";

const { streams, followers, rate, tokens, database } = JSON.parse(process.argv[3]);
process.env.REDIS_URL = database;
const context = createResumableStreamContext({ waitUntil: null });

const now = () => Number(process.hrtime.bigint()) / 1e9; // the clock of Python's time.monotonic
let began = 0;
let arrived = 0;
let start;
const go = new Promise((resolve) => {
  start = resolve;
});

function arrive() {
  arrived += 1;
  if (arrived === streams * followers) {
    began = now() + 0.2;
    start();
  }
}

function source(number) {
  let i = 0;
  return new ReadableStream({
    async pull(controller) {
      await go;
      if (i === tokens) {
        controller.close();
        return;
      }
      const wait = began + (number / streams + i) / rate - now();
      if (wait > 0) {
        await sleep(wait * 1000);
      }
      controller.enqueue(`data: "${now().toFixed(6)} "\n\n`);
      i += 1;
    },
  });
}

const server = createServer(async (request, response) => {
  const number = Number(request.url.slice(1));
  const stream = await context.resumableStream(String(number), () => source(number));
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.flushHeaders();
  arrive();
  for await (const chunk of stream) {
    if (!response.write(chunk)) {
      await new Promise((resolve) => response.once("drain", resolve));
    }
  }
  response.end();
});
server.listen({ fd: Number(process.argv[2]) });
