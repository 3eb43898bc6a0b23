/** A single file for pages without a build step: defines `<ink-stream>`, exports everything. */
import { defineInkStream } from "./element.js";

export * from "./index.js";
export { defineInkStream };

defineInkStream();
