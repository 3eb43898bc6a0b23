// The page around the panes. Each pane is a document of its own, so that one can be reloaded
// halfway through an answer while the other goes on.
"use strict";

const conversation = location.pathname.replace(/\/$/, "");
for (const name of ["left", "right"]) {
  document.getElementById(name).src = `${conversation}/pane`;
}

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
