import { useEffect, useRef, useState } from "react";
import { load, type News, type Turn } from "./server";

const LAST_PAGE = -1;

/**
 * The turns of a conversation that are shown: its last page, earlier pages as they are asked for,
 * and what the feed says from there on.
 */
export function useTurns(chatId: string | undefined, news: readonly News[]) {
  const address = `/api/chats/${chatId}/turns`;
  const [turns, setTurns] = useState<Turn[] | undefined>(chatId ? undefined : []);
  const heard = useRef(news.length);
  /** The turns after this one are to be loaded. */
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

  /** Load the page before; `show` is called with what puts it in. */
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
