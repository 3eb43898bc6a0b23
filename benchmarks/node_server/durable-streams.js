// The protocol's official server: node server.js [FOLDER]; in memory without a folder.

import { DurableStreamTestServer } from "@durable-streams/server";

const server = new DurableStreamTestServer({ port: 0, dataDir: process.argv[2] });
console.log(await server.start());
