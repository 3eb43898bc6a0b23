/** A page can load `<ink-stream>` and the client from one file, with one script tag. */
import { execFileSync } from "node:child_process";
import { expect, it, vi } from "vitest";
import { endFrame, Wire } from "./wire.js";

it("defines <ink-stream> for existing elements, and exports the client", async () => {
  const wire = new Wire();
  vi.stubGlobal("fetch", wire.fetch);
  document.body.innerHTML = '<ink-stream src="/s/a">Hel</ink-stream>';

  const command = [
    "src/bundle.ts",
    "--bundle",
    "--minify",
    "--format=iife",
    "--global-name=inkstream",
  ];
  const script = execFileSync("node_modules/.bin/esbuild", command, { encoding: "utf8" });
  const inkstream: object = new Function(`${script}; return inkstream`)();

  expect(Object.keys(inkstream).sort()).toEqual([
    "InkstreamError",
    "createClient",
    "defineInkStream",
    "isEnded",
  ]);
  await vi.waitFor(() => expect(wire.last.path).toBe("/s/a"));
  wire.last.stream("Hello").send(endFrame(1));
  const element = document.querySelector("ink-stream");
  await vi.waitFor(() => expect(element?.getAttribute("status")).toBe("done"));
  expect(element?.textContent).toBe("Hello");
});
