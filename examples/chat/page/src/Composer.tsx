import { type FormEvent, type KeyboardEvent, useRef, useState } from "react";
import { Icon } from "./Icon";
import { excess, Limit } from "./Limit";
import { type Live, StopButton } from "./StopButton";
import { send } from "./server";
import { useDraft } from "./useDraft";
import { useNotice } from "./useNotice";

/** False on a phone, where focus on the field would cover half the page with a keyboard. */
const HAS_KEYBOARD = !matchMedia("(pointer: coarse)").matches;

/** The field for a question. Its draft survives a reload. */
export function Composer({
  chatId,
  parentId,
  live,
  limit,
  onAsked,
}: {
  chatId: string | undefined;
  parentId: number | undefined;
  live: Live;
  limit: number;
  onAsked: (chatId: string) => void;
}) {
  const [prompt = "", setPrompt] = useDraft(`draft-${chatId ?? "new"}`);
  const [notice, tell] = useNotice();
  const [early, setEarly] = useState(false);
  const [sending, setSending] = useState(false);
  const field = useRef<HTMLTextAreaElement>(null);
  const over = excess(prompt, limit);
  const write = (text?: string) => {
    setPrompt(text);
    setEarly(false);
    tell("");
  };

  // The page shows a question only after it is stored, when the feed sends it to all windows.
  const ask = async () => {
    if (!prompt.trim() || sending) return;
    if (live.busy) return setEarly(true);
    if (parentId === undefined) return tell("The conversation is still being loaded.");
    if (over > 0) return tell("The question is too long. Shorten it, or send it in parts.");
    field.current?.focus(); // Stop is about to replace Send, which may have the focus
    setSending(true);
    const question = { prompt, chat_id: chatId, parent_id: parentId };
    const { refusal, answer } = await send<{ chat_id: string }>("POST", "/api/turns", question);
    setSending(false);
    if (refusal || !answer) return tell(refusal);
    // If the user changed the text during the request, the text stays. The field is gone if the
    // user left the page.
    if ((field.current?.value ?? prompt) === prompt) write();
    onAsked(answer.chat_id);
  };
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    void ask();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    void ask();
  };
  return (
    <form className="composer" aria-label="Ask" onSubmit={onSubmit}>
      {early && live.busy && (
        <p role="alert">An answer is being written. Stop it (Escape), or wait for its end.</p>
      )}
      {notice && <p role="alert">{notice}</p>}
      <Limit id="limit" over={over} limit={limit} />
      <div className="box">
        <textarea
          ref={field}
          aria-label="Message"
          aria-describedby="limit"
          autoFocus={HAS_KEYBOARD}
          placeholder="Ask something…"
          rows={1}
          value={prompt}
          onChange={(event) => write(event.target.value)}
          onKeyDown={onKeyDown}
        />
        {live.busy ? (
          <StopButton live={live} field={field} />
        ) : (
          <button
            className="round"
            aria-label="Send"
            title="Send"
            aria-disabled={sending || over > 0}
            disabled={!prompt.trim()}
          >
            <Icon name="send" />
          </button>
        )}
      </div>
    </form>
  );
}
