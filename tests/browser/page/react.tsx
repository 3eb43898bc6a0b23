// Shows the streams of `?streams=a,b`, or of a later `show(["a", "b"])`, under React's StrictMode.
import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { useStream } from "inkstream/react";

const query = new URLSearchParams(location.search);
declare global {
  interface Window {
    show: (ids: string[]) => void;
    ends: string[];
  }
}
window.ends = [];

function Answer({ id }: { id: string }) {
  const { text, status, error, connection, transport, stop } = useStream(id, {
    url: new URL("/streams", location.href), // each render makes another URL object
    drive: query.has("drive") ? `/drive/${id}` : undefined,
    background: query.has("background"),
    onEnd: () => window.ends.push(id),
  });
  return (
    <article
      data-stream={id}
      data-status={status}
      data-connection={connection}
      data-transport={transport}
    >
      <div className="text">{text}</div>
      {error && <p role="alert">{error.message ?? error.code}</p>}
      <button onClick={() => void stop()}>Stop</button>
    </article>
  );
}

function Page() {
  const [ids, setIds] = useState(query.get("streams")?.split(",") ?? []);
  window.show = setIds;
  return ids.map((id) => <Answer key={id} id={id} />);
}

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <Page />
  </StrictMode>,
);
