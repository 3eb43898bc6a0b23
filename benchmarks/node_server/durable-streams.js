// Run the official server of Durable Streams: node durable-streams.js [FOLDER]
// Without FOLDER, the server keeps its streams in memory.

import { DurableStreamTestServer } from "@durable-streams/server";

const server = new DurableStreamTestServer({ port: 0, dataDir: process.argv[2] });
console.log(await server.start());
