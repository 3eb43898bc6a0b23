import { useEffect, useEffectEvent, useState } from "react";
import { type Chat, send } from "./server";

const UNDO_MS = 8000;

/** Hide a conversation, and delete it after some seconds, unless Undo shows it again. */
export function useDeletion(refuse: (refusal: string) => void) {
  const [leaving, setLeaving] = useState<Chat>();
  const [hidden, setHidden] = useState<readonly string[]>([]);
  const show = (id: string) => setHidden((ids) => ids.filter((other) => other !== id));

  const finish = useEffectEvent(async ({ id }: Chat) => {
    const { refusal } = await send("DELETE", `/api/chats/${id}`);
    if (!refusal) return; // the feed then reports the deletion
    show(id);
    refuse(refusal);
  });
  useEffect(() => {
    if (!leaving) return;
    const commit = () => {
      setLeaving(undefined);
      void finish(leaving);
    };
    const timer = setTimeout(commit, UNDO_MS);
    addEventListener("pagehide", commit);
    return () => {
      clearTimeout(timer);
      removeEventListener("pagehide", commit);
    };
  }, [leaving]);

  return {
    leaving,
    hidden,
    remove: (chat: Chat) => {
      if (leaving) void finish(leaving);
      setLeaving(chat);
      setHidden((ids) => [...ids, chat.id]);
    },
    undo: () => {
      if (leaving) show(leaving.id);
      setLeaving(undefined);
    },
  };
}
