import { defineConfig } from "vitest/config";

const react18 = (name: string) =>
  new URL(`./test/react-18/node_modules/${name}`, import.meta.url).pathname;

const solid = new URL("./node_modules/solid-js/dist/solid.js", import.meta.url).pathname;

const react = { environment: "happy-dom", include: ["test/react*.test.ts"] };

export default defineConfig({
  test: {
    testTimeout: 20_000,
    maxWorkers: 2,
    restoreMocks: true,
    unstubGlobals: true,
    projects: [
      {
        extends: true,
        test: {
          name: "client",
          include: ["test/*.test.ts"],
          exclude: ["test/react*", "test/element*", "test/vue*"],
        },
        // Without this alias, vitest would load Solid's build for servers, which never updates.
        resolve: { alias: { "solid-js": solid } },
      },
      {
        extends: true,
        test: { name: "element", environment: "happy-dom", include: ["test/element*.test.ts"] },
      },
      {
        extends: true,
        test: { name: "vue", environment: "happy-dom", include: ["test/vue*.test.ts"] },
      },
      { extends: true, test: { name: "react 19", ...react } },
      {
        extends: true,
        resolve: {
          alias: [
            { find: /^react-dom(?=$|\/)/, replacement: react18("react-dom") },
            { find: /^react(?=$|\/)/, replacement: react18("react") },
          ],
        },
        test: { name: "react 18", ...react },
      },
    ],
  },
});
