// A model's Markdown, which is a stranger's text: nodes are made one by one, HTML is shown as text,
// images are not loaded, links go to http(s) only.
"use strict";

const BLOCK = /^```[^\n]*\n[\s\S]*?(?:\n```[^\n]*(?:\n|$)|$)|^[^\n]+(?:\n(?!```)[^\n]+)*/gm;
const ITEM = /^\s*(?:[-*+]|\d+[.)])\s+/;
const INLINE = /(`+)(.+?)\1|\*\*(.+?)\*\*|\*([^*\s][^*]*)\*|!?\[([^\]]*)\]\(([^)\s]*)\)/gs;

/** Show a text that grows in an element: only its last block is made anew. */
function showMarkdown(box, text) {
  const blocks = text.match(BLOCK) ?? [];
  blocks.forEach((block, index) => {
    const shown = box.children[index];
    if (shown?.source === block) return;
    const made = blockOf(block);
    made.source = block;
    if (shown) shown.replaceWith(made);
    else box.append(made);
  });
  while (box.children.length > blocks.length) box.lastElementChild.remove();
}

function blockOf(block) {
  if (block.startsWith("```")) {
    const pre = document.createElement("pre");
    const code = document.createElement("code");
    code.textContent = block.replace(/^```[^\n]*\n?/, "").replace(/\n?`{1,3}[^\n`]*\n?$/, "");
    pre.append(code);
    return pre;
  }
  const lines = block.split("\n");
  if (lines.length === 1 && /^#{1,6} /.test(block)) {
    return inline(document.createElement("h3"), block.replace(/^#+ /, ""));
  }
  if (!ITEM.test(lines[0])) return inline(document.createElement("p"), block);
  const list = document.createElement(/^\s*\d/.test(lines[0]) ? "ol" : "ul");
  for (const line of lines) {
    if (ITEM.test(line)) list.append(inline(document.createElement("li"), line.replace(ITEM, "")));
    else inline(list.lastElementChild, `\n${line.trim()}`);
  }
  return list;
}

function inline(element, text) {
  let done = 0;
  for (const match of text.matchAll(INLINE)) {
    const [all, , code, strong, em, label, address] = match;
    element.append(text.slice(done, match.index));
    done = match.index + all.length;
    if (code !== undefined) element.append(named("code", code));
    else if (strong !== undefined) element.append(inline(document.createElement("strong"), strong));
    else if (em !== undefined) element.append(inline(document.createElement("em"), em));
    else if (!/^https?:\/\//.test(address) || all.startsWith("!")) element.append(label);
    else {
      const link = named("a", label);
      Object.assign(link, { href: address, target: "_blank", rel: "noopener noreferrer nofollow" });
      element.append(link);
    }
  }
  element.append(text.slice(done));
  return element;
}

function named(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}
