// The official server of Durable Streams: node server.js [FOLDER]. Without FOLDER: in memory.

import { DurableStreamTestServer } from "@durable-streams/server";

const server = new DurableStreamTestServer({ port: 0, dataDir: process.argv[2] });
console.log(await server.start());
