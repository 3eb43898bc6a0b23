import { type KeyboardEvent, useState } from "react";
import { Link, navigate } from "./address";
import { ChatItem } from "./ChatItem";
import { byDay } from "./days";
import { Icon } from "./Icon";
import type { Chat, Everything } from "./server";
import { useToday } from "./useToday";

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
  const [words, search] = useState("");
  const today = useToday();
  const wanted = plain(words).split(/\s+/).filter(Boolean);
  const found = chats.filter(({ title }) => wanted.every((word) => plain(title).includes(word)));
  const [best] = wanted.length ? found : [];

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.nativeEvent.isComposing) return;
    if (event.key === "Enter" && best) navigate(`/c/${best.id}`);
    if (event.key !== "Escape") return;
    event.stopPropagation(); // otherwise Escape would also stop an answer
    if (!words) return; // without words, Escape closes a dialog around the list
    event.preventDefault();
    search("");
  };
  return (
    <>
      <Link className="new" href="/" aria-current={current === undefined ? "page" : undefined}>
        <Icon name="plus" /> New chat
      </Link>
      {chats.length > 0 && (
        <input
          type="search"
          aria-label="Search conversations"
          placeholder="Search"
          enterKeyHint="go"
          value={words}
          onChange={(event) => search(event.target.value)}
          onKeyDown={onKeyDown}
        />
      )}
      <p className={best || !wanted.length ? "unseen" : "note"} aria-live="polite">
        {wanted.length > 0 && (best ? `${found.length} found` : "Nothing found.")}
      </p>
      <div className="days">
        {byDay(found, today).map(([day, group]) => (
          <section key={day}>
            <h2>{day}</h2>
            <ul aria-label={day}>
              {group.map((chat) => (
                <ChatItem
                  key={chat.id}
                  chat={chat}
                  isCurrent={chat.id === current}
                  onDelete={onDelete}
                />
              ))}
            </ul>
          </section>
        ))}
      </div>
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

/** A text without capital letters and accents, so that a search for "cafe" finds "Café". */
function plain(text: string): string {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}
