// Notes every text of this page that did not begin with the text shown before it. Such a text
// was shown twice, out of order, or taken back (G2).
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
