// The page around the panes. Each pane is a separate document, so that a user can reload one pane
// in the middle of an answer while the other pane continues.
"use strict";

const conversation = location.pathname.replace(/\/$/, "");
const onePane = matchMedia("(max-width: 760px)"); // as in style.css: a phone has room for one pane

function load() {
  for (const name of onePane.matches ? ["left"] : ["left", "right"]) {
    const pane = document.getElementById(name);
    if (!pane.src) pane.src = `${conversation}/pane`;
  }
}
onePane.addEventListener("change", load);
load();

for (const button of document.querySelectorAll("[data-reload]")) {
  button.addEventListener("click", () => {
    document.getElementById(button.dataset.reload).contentWindow.location.reload();
  });
}

document.getElementById("new").addEventListener("click", async () => {
  const response = await fetch("/conversations", { method: "POST" });
  if (response.ok) location.href = `/c/${encodeURIComponent((await response.json()).id)}`;
});

async function sayWhoAnswers() {
  const about = await (await fetch("/about")).json();
  const place = document.getElementById(about.note ? "note" : "answers");
  place.textContent = about.note || about.name;
  place.hidden = false;
}
sayWhoAnswers();
