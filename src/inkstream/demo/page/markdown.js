// A model's Markdown, which is a stranger's text: nodes are made one by one, HTML is shown as text,
// images are not loaded, links go to http(s) only.
"use strict";

const FENCE = /^\s*```/;
const HEADING = /^#{1,6} /;
const ITEM = /^\s*(?:[-*+]|\d+[.)])\s+/;
const INLINE = /(`+)(.+?)\1|\*\*(.+?)\*\*|\*([^*\s][^*]*)\*|!?\[([^\]]*)\]\(([^)\s]*)\)/gs;

/** Show a text that grows in an element: only its last block is made anew. */
function showMarkdown(box, text) {
  const blocks = blocksOf(text);
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

/** Cut a text into code, headings, lists and paragraphs. */
function blocksOf(text) {
  const blocks = [[]];
  let inCode = false;
  for (const line of text.split("\n")) {
    const isFence = FENCE.test(line);
    const isHeading = HEADING.test(line);
    const beginsList = ITEM.test(line) && !ITEM.test(blocks.at(-1)[0] ?? line);
    if (!inCode && (isFence || isHeading || beginsList || !line.trim())) blocks.push([]);
    if (inCode || line.trim()) blocks.at(-1).push(line);
    if (isFence ? inCode : isHeading && !inCode) blocks.push([]);
    if (isFence) inCode = !inCode;
  }
  return blocks.filter((lines) => lines.length).map((lines) => lines.join("\n"));
}

function blockOf(block) {
  if (FENCE.test(block)) {
    const pre = document.createElement("pre");
    pre.append(named("code", block.replace(/^.*\n?/, "").replace(/(^|\n)\s*`{1,3}$/, "")));
    return pre;
  }
  const lines = block.split("\n");
  if (HEADING.test(block)) {
    return inline(document.createElement("h3"), block.replace(HEADING, ""));
  }
  if (!ITEM.test(lines[0])) return inline(document.createElement("p"), block);
  const number = Number.parseInt(lines[0], 10);
  const list = document.createElement(number ? "ol" : "ul");
  if (number) list.start = number;
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
