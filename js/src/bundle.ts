/** One file for pages without a build step. It defines `<ink-stream>`, and exports the client. */
import { defineInkStream } from "./element.js";

export * from "./index.js";
export { defineInkStream };

defineInkStream();
