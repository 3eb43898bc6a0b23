import { lazy, Suspense } from "react";
import { CopyButton } from "./CopyButton";

const Highlighted = lazy(() => import("./Highlighted"));
const LONG = 20_000;

export function Code({ language, text }: { language: string; text: string }) {
  return (
    <div className="code">
      <div className="bar" data-language={language || "text"}>
        <CopyButton text={text} label="Copy code" />
      </div>
      <pre tabIndex={0} role="group" aria-label={`Code${language && `, ${language}`}`}>
        <code>
          {language && text.length < LONG ? (
            <Suspense fallback={text}>
              <Highlighted language={language} text={text} />
            </Suspense>
          ) : (
            text
          )}
        </code>
      </pre>
    </div>
  );
}
