import { runConformanceTests } from "@durable-streams/server-conformance-tests";

runConformanceTests({
  baseUrl: process.env.INKSTREAM_BASE_URL,
  longPollTimeoutMs: 500,
});
