import { defineConfig } from "vite";

export default defineConfig({
  // The npm package is a link to ../../../js, where its tests have installed another React. Without
  // `dedupe`, the page would load both.
  resolve: { dedupe: ["react", "react-dom"] },
  // The polyfill is an inline script, which the page's policy forbids.
  build: { modulePreload: { polyfill: false } },
  server: { proxy: { "/api": "http://127.0.0.1:8000" } },
});
