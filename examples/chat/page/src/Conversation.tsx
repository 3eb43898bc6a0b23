import { Fragment, useEffect, useRef } from "react";
import { Answer } from "./Answer";
import { Link, navigate } from "./address";
import { Composer } from "./Composer";
import { Icon } from "./Icon";
import { Question } from "./Question";
import { Separator } from "./Separator";
import type { Everything, News } from "./server";
import { useLive } from "./useLive";
import { keepInPlace, useStickToEnd } from "./useStickToEnd";
import { useToday } from "./useToday";
import { useTurns } from "./useTurns";
import { Welcome } from "./Welcome";

/** A conversation. Without an id, the first question creates a new conversation. */
export function Conversation({
  id,
  live,
  news,
  about,
  say,
}: {
  id: string | undefined;
  live: string | null;
  news: readonly News[];
  about: Everything["about"] | undefined;
  say: (sentence: string) => void;
}) {
  const { turns, hasEarlier, loadEarlier } = useTurns(id, news);
  const { busy, stop, stopping } = useLive(live, say);
  const { box, away, jump } = useStickToEnd();
  const today = useToday();
  const limit = about?.prompt_characters ?? Infinity;
  const isGone = turns?.length === 0 || news.some(({ deleted }) => deleted === id);
  if (id && isGone)
    return (
      <main>
        <p className="empty">
          This conversation does not exist, or was deleted. <Link href="/">Begin a new one</Link>
        </p>
      </main>
    );
  return (
    <>
      <main ref={id ? box : undefined} tabIndex={0} aria-label="Conversation">
        <div className="list">
          {!turns && <p className="empty late">Loading…</p>}
          {!id && about && <Welcome about={about} />}
          {hasEarlier && <Earlier key={turns?.[0]?.id} load={loadEarlier} />}
          {turns?.map((turn, index) => (
            // If another version of this turn is shown, the key stays, and so does the focus.
            <Fragment key={turn.parent_id}>
              <Separator at={turn.asked_at} before={turns[index - 1]?.asked_at} today={today} />
              <div className="turn" data-turn={turn.id}>
                <Question chatId={id} turn={turn} busy={busy} limit={limit} />
                <Answer chatId={id} turn={turn} busy={busy} />
              </div>
            </Fragment>
          ))}
        </div>
      </main>
      {away && (
        <button className="jump" aria-label="Jump to the end" onClick={jump}>
          <Icon name="down" />
        </button>
      )}
      <Composer
        chatId={id}
        parentId={turns && (turns.at(-1)?.id ?? 0)}
        live={{ busy, stop, stopping }}
        limit={limit}
        onAsked={(chatId) => (id ? jump() : navigate(`/c/${chatId}`))}
      />
    </>
  );
}

/** A button that loads earlier turns when pressed or almost visible. No visible turn moves. */
function Earlier({ load }: { load: (show: (put: () => void) => void) => Promise<void> }) {
  const button = useRef<HTMLButtonElement>(null);
  const asked = useRef(false);
  const ask = () => {
    const box = button.current?.closest("main");
    const first = box?.querySelector("[data-turn]");
    if (asked.current || !box || !first) return;
    asked.current = true;
    void load((put) => keepInPlace(first, box, put));
  };
  useEffect(() => {
    const seen = ([entry]: IntersectionObserverEntry[]) => entry?.isIntersecting && ask();
    const root = button.current?.closest("main") ?? null;
    const observer = new IntersectionObserver(seen, { root, rootMargin: "400px 0px 0px" });
    if (button.current) observer.observe(button.current);
    return () => observer.disconnect();
  }, []);
  return (
    <button ref={button} className="quiet earlier" onClick={ask}>
      Earlier messages
    </button>
  );
}
