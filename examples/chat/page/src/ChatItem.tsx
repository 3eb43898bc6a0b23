import { memo, useLayoutEffect, useRef } from "react";
import { Link } from "./address";
import { Icon } from "./Icon";
import { type Chat, send } from "./server";
import { useDraft } from "./useDraft";
import { useNotice } from "./useNotice";

/** A conversation in the list, with Rename and Delete. A search does not render the item again. */
export const ChatItem = memo(function ChatItem({
  chat,
  isCurrent,
  onDelete,
}: {
  chat: Chat;
  isCurrent: boolean;
  onDelete: (chat: Chat) => void;
}) {
  // The title that is being typed is kept, because the item may move below another day.
  const [draft, write] = useDraft(`title-${chat.id}`);
  const [refusal, refuse] = useNotice();
  const rename = async (title: string) => {
    write();
    if (title && title !== chat.title)
      refuse((await send("PATCH", `/api/chats/${chat.id}`, { title })).refusal);
  };
  if (draft !== undefined)
    return (
      <li>
        <TitleField
          first={chat.title}
          title={draft}
          write={write}
          onEnd={(title) => void rename(title)}
        />
      </li>
    );
  return (
    <li className={isCurrent ? "current" : ""} ref={isCurrent ? bringIntoView : undefined}>
      <Link href={`/c/${chat.id}`} title={chat.title} aria-current={isCurrent ? "page" : undefined}>
        {chat.live && <span className="live" role="img" aria-label="Is being answered:" />}
        {chat.title}
      </Link>
      <button
        className="icon"
        aria-label={`Rename ${chat.title}`}
        onClick={() => write(chat.title)}
      >
        <Icon name="edit" />
      </button>
      <button className="icon" aria-label={`Delete ${chat.title}`} onClick={() => onDelete(chat)}>
        <Icon name="bin" />
      </button>
      {refusal && <span role="alert">{refusal}</span>}
    </li>
  );
});

/** Scroll the list to the conversation that the address names, if it is far down in the list. */
function bringIntoView(item: HTMLElement | null): void {
  // Wait for the next frame, because the drawer opens only after its list is rendered.
  requestAnimationFrame(() => item?.scrollIntoView({ block: "nearest" }));
}

/** A field for a title. Enter, or leaving the field, saves the title; Escape does not. */
function TitleField({
  first,
  title,
  write,
  onEnd,
}: {
  first: string;
  title: string;
  write: (title: string) => void;
  onEnd: (title: string) => void;
}) {
  const field = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => {
    field.current?.focus();
    field.current?.setSelectionRange(title === first ? 0 : title.length, title.length);
    const item = field.current?.closest("li");
    // When the field has gone, the button that opened the field gets the focus.
    return () => void setTimeout(() => item?.querySelector<HTMLElement>("a + button")?.focus());
  }, []);
  return (
    <input
      ref={field}
      aria-label="Title"
      value={title}
      maxLength={80}
      onChange={(event) => write(event.target.value)}
      onBlur={(event) => onEnd(event.target.value.trim())}
      onKeyDown={(event) => {
        if (event.key === "Enter" && !event.nativeEvent.isComposing) event.currentTarget.blur();
        if (event.key !== "Escape") return;
        event.preventDefault();
        onEnd("");
      }}
    />
  );
}
