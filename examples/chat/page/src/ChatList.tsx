import { useLayoutEffect, useRef, useState } from "react";
import { Link } from "./address";
import { Icon } from "./Icon";
import { type Chat, type Everything, send } from "./server";
import { useNotice } from "./useNotice";

/** The list of conversations, the latest first. */
export function ChatList({
  chats,
  about,
  current,
  onDelete,
}: {
  chats: readonly Chat[];
  about: Everything["about"] | undefined;
  current: string | undefined;
  onDelete: (chat: Chat) => void;
}) {
  return (
    <>
      <Link className="new" href="/" aria-current={current === undefined ? "page" : undefined}>
        <Icon name="plus" /> New chat
      </Link>
      <ul>
        {chats.map((chat) => (
          <Item
            key={chat.id}
            chat={chat}
            isCurrent={chat.id === current}
            onDelete={() => onDelete(chat)}
          />
        ))}
      </ul>
      {about && (
        <p className="note">
          {about.questions.length
            ? "Offline: written answers. Set OPENAI_API_KEY to have a model answer."
            : `Answers from ${about.name}.`}
        </p>
      )}
    </>
  );
}

function Item({
  chat,
  isCurrent,
  onDelete,
}: {
  chat: Chat;
  isCurrent: boolean;
  onDelete: () => void;
}) {
  const [renaming, setRenaming] = useState(false);
  const [refusal, refuse] = useNotice();
  const rename = async (title: string) => {
    setRenaming(false);
    if (title && title !== chat.title)
      refuse((await send("PATCH", `/api/chats/${chat.id}`, { title })).refusal);
  };
  if (renaming)
    return (
      <li>
        <TitleField title={chat.title} onEnd={(title) => void rename(title)} />
      </li>
    );
  return (
    <li className={isCurrent ? "current" : ""}>
      <Link href={`/c/${chat.id}`} aria-current={isCurrent ? "page" : undefined}>
        {chat.live && <span className="live" role="img" aria-label="Is being answered:" />}
        {chat.title}
      </Link>
      <button className="icon" aria-label={`Rename ${chat.title}`} onClick={() => setRenaming(true)}>
        <Icon name="edit" />
      </button>
      <button className="icon" aria-label={`Delete ${chat.title}`} onClick={onDelete}>
        <Icon name="bin" />
      </button>
      {refusal && <span role="alert">{refusal}</span>}
    </li>
  );
}

/** A field for a title. Enter, or leaving the field, saves the title; Escape does not. */
function TitleField({ title, onEnd }: { title: string; onEnd: (title: string) => void }) {
  const field = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => {
    field.current?.select();
    const item = field.current?.closest("li");
    // The button that opened this field exists again only after the field has gone.
    return () => void setTimeout(() => item?.querySelector<HTMLElement>("a + button")?.focus());
  }, []);
  return (
    <input
      ref={field}
      aria-label="Title"
      defaultValue={title}
      maxLength={80}
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
