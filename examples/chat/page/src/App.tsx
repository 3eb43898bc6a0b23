import { useEffect, useState } from "react";
import { Link, navigate, useChatId } from "./address";
import { ChatList } from "./ChatList";
import { Conversation } from "./Conversation";
import { Drawer } from "./Drawer";
import { Icon } from "./Icon";
import { useChats } from "./useChats";
import { useDeletion } from "./useDeletion";
import { useMedia } from "./useMedia";
import { useNotice } from "./useNotice";

const TITLE = "inkstream chat";

export function App() {
  const id = useChatId();
  const { chats, news, about, away } = useChats();
  const [refusal, refuse] = useNotice();
  const { leaving, hidden, remove, undo } = useDeletion(refuse);
  const [said, say] = useState("");
  const narrow = useMedia("(max-width: 48rem)");

  const chat = chats?.find((one) => one.id === id);
  useEffect(() => {
    document.title = `${chat?.live ? "✎ " : ""}${chat ? `${chat.title} – ` : ""}${TITLE}`;
  }, [chat]);

  const list = (
    <ChatList
      chats={chats?.filter((one) => !hidden.includes(one.id)) ?? []}
      about={about}
      current={id}
      onDelete={(one) => {
        remove(one);
        // Navigate even if the address stays the same, to close the drawer, which would cover Undo.
        navigate(one.id === id ? "/" : location.pathname);
      }}
    />
  );
  return (
    <>
      {!narrow && (
        <nav className="side" aria-label="Conversations">
          {list}
        </nav>
      )}
      <div className="chat">
        <header>
          {narrow && <Drawer>{list}</Drawer>}
          <h1>{chat?.title ?? TITLE}</h1>
          {narrow && id && (
            <Link className="icon" href="/" aria-label="New chat">
              <Icon name="plus" />
            </Link>
          )}
        </header>
        {away && <p className="banner late">No connection. Trying again…</p>}
        {chats ? (
          <Conversation
            key={id}
            id={id}
            live={chat?.live ?? null}
            news={news}
            about={about}
            say={say}
          />
        ) : (
          <p className="banner late">Loading…</p>
        )}
      </div>
      <p className="unseen" role="status">
        {said}
      </p>
      {refusal && (
        <p className="toast" role="alert">
          {refusal}
        </p>
      )}
      {leaving && (
        <section className="toast" aria-label="Deleted conversation">
          <span>Deleted: {leaving.title}</span>
          <button className="quiet" autoFocus onClick={undo}>
            Undo
          </button>
        </section>
      )}
    </>
  );
}
