import { useState } from "react";
import { navigate } from "./address";
import { type Everything, send } from "./server";
import { useNotice } from "./useNotice";

const FOR_A_MODEL = [
  "Explain how a hash table works, with code",
  "Compare three ways to learn a language in a table",
  "Prove that the square root of 2 is irrational",
  "Write a short poem about the sea",
];

/** The empty page. A press on a suggestion asks this question at once. */
export function Welcome({ about }: { about: Everything["about"] }) {
  const [refusal, refuse] = useNotice();
  const [asking, setAsking] = useState(false);
  const written = about.questions;
  const ask = async (prompt: string) => {
    if (asking) return;
    setAsking(true);
    const { refusal, answer } = await send<{ chat_id: string }>("POST", "/api/turns", { prompt });
    setAsking(false);
    refuse(refusal);
    if (answer) navigate(`/c/${answer.chat_id}`);
  };
  return (
    <div className="empty">
      <p>
        <strong>What would you like to know?</strong>
        {written.length
          ? "Offline, the server types one of its written texts:"
          : "The answer is saved as it is written: reload, or open this page in another window, too."}
      </p>
      <ul className="suggestions" aria-label="Suggestions">
        {(written.length ? written : FOR_A_MODEL).map((prompt) => (
          <li key={prompt}>
            <button aria-disabled={asking} onClick={() => void ask(prompt)}>
              {prompt}
            </button>
          </li>
        ))}
      </ul>
      {refusal && <p role="alert">{refusal}</p>}
    </div>
  );
}
