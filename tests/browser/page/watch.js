// Adds an answer's new text to `faults` if it does not begin with the answer's earlier text.
// Such a text shows a piece twice or out of order, or takes a piece back (G2).
"use strict";

window.faults = [];
const shown = new Map();
new MutationObserver(() => {
  for (const answer of document.querySelectorAll("[data-stream]")) {
    const text = answer.querySelector(".text")?.textContent ?? "";
    const before = shown.get(answer) ?? "";
    if (!text.startsWith(before)) window.faults.push({ before, text });
    shown.set(answer, text);
  }
}).observe(document, { subtree: true, childList: true, characterData: true });
