import { defineConfig } from "vite";

export default defineConfig({
  // The npm package is a link to ../../../js, where its tests have installed another React. Without
  // `dedupe`, the page would load both.
  resolve: { dedupe: ["react", "react-dom"] },
  server: { proxy: { "/api": "http://127.0.0.1:8000" } },
});
