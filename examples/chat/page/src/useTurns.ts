import { useEffect, useRef, useState } from "react";
import { load, type News, type Turn } from "./server";

const LAST_PAGE = -1;

/**
 * The shown turns of a conversation: its last page of turns, earlier pages if the user requests
 * them, and new turns from the feed.
 */
export function useTurns(chatId: string | undefined, news: readonly News[]) {
  const address = `/api/chats/${chatId}/turns`;
  const [turns, setTurns] = useState<Turn[] | undefined>(chatId ? undefined : []);
  const heard = useRef(news.length);
  /** The id of the turn after which all turns must be loaded again, if there is such a turn. */
  const stale = useRef<number | undefined>(LAST_PAGE);

  useEffect(() => {
    if (!chatId) return;
    for (; heard.current < news.length; heard.current++) {
      const { chat, after } = news[heard.current] as News;
      if (chat?.id !== chatId || after === undefined) continue;
      const known = turns?.some(({ id, parent_id }) => id === after || parent_id === after);
      stale.current = Math.min(stale.current ?? Infinity, known ? after : LAST_PAGE);
    }
    const after = stale.current;
    if (after === undefined) return;
    const leaving = new AbortController();
    const query = after === LAST_PAGE ? "" : `?after=${after}`;
    load<Turn[]>(address + query, leaving.signal).then(
      (loaded) => {
        stale.current = undefined;
        setTurns((known) => [...(known ?? []).filter(({ id }) => id <= after), ...loaded]);
      },
      () => {},
    );
    return () => leaving.abort();
  }, [chatId, news]);

  /** Load the previous page of turns; `show` gets a function that adds these turns. */
  const loadEarlier = async (show: (put: () => void) => void) => {
    const before = await load<Turn[]>(`${address}?before=${turns?.[0]?.id}`);
    show(() =>
      setTurns((known) =>
        known && known[0]?.parent_id === before.at(-1)?.id ? [...before, ...known] : known,
      ),
    );
  };
  const hasEarlier = !!turns?.[0]?.parent_id;
  return { turns, hasEarlier, loadEarlier };
}
