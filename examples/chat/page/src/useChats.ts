import { useStream } from "inkstream/react";
import { useEffect, useMemo, useState } from "react";
import { type Chat, type Everything, load, type News, STREAMS } from "./server";

/** All conversations. The page loads them once, and then applies the messages of the feed. */
export function useChats() {
  const [first, setFirst] = useState<Everything>();
  useEffect(() => {
    const leaving = new AbortController();
    load<Everything>("/api/chats", leaving.signal).then(setFirst, () => {});
    return () => leaving.abort();
  }, []);
  const feed = useStream(first && "chat-feed", {
    url: STREAMS,
    initial: { offset: first?.offset ?? null },
    onReset: () => location.reload(), // the server has another database
  });
  const news = feed.parts as readonly News[];
  const chats = useMemo(() => first && applied(first.chats, news), [first, news]);
  return { chats, news, about: first?.about, away: feed.connection === "waiting" };
}

/** Apply messages of the feed. Applying a message a second time changes nothing. */
function applied(first: readonly Chat[], news: readonly News[]): Chat[] {
  const chats = new Map(first.map((chat) => [chat.id, chat]));
  for (const { chat, ended, deleted } of news) {
    if (deleted) chats.delete(deleted);
    if (chat) {
      const known = chats.get(chat.id);
      if (known || chat.title) chats.set(chat.id, { ...known, ...chat } as Chat);
    }
    for (const known of ended ? chats.values() : [])
      if (known.live === ended) chats.set(known.id, { ...known, live: null });
  }
  return [...chats.values()].sort((a, b) => b.changed_at - a.changed_at);
}
