import { toJsxRuntime } from "hast-util-to-jsx-runtime";
import bash from "highlight.js/lib/languages/bash";
import css from "highlight.js/lib/languages/css";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import { createLowlight } from "lowlight";
import { Fragment, jsx, jsxs } from "react/jsx-runtime";

const lowlight = createLowlight({ bash, css, json, python, sql, typescript, xml });
lowlight.registerAlias({
  bash: ["sh", "shell", "console"],
  typescript: ["ts", "tsx", "js", "jsx", "javascript"],
});

/** Code in colours, if its language is known here. The page loads this module when needed. */
export default function Highlighted({ language, text }: { language: string; text: string }) {
  if (!lowlight.registered(language)) return text;
  return toJsxRuntime(lowlight.highlight(language, text), { Fragment, jsx, jsxs });
}
