import { type ComponentProps, type MouseEvent, useSyncExternalStore } from "react";

/** Go to another conversation's address without reloading the page. */
export function navigate(address: string): void {
  if (address !== location.pathname) history.pushState(null, "", address);
  dispatchEvent(new PopStateEvent("popstate"));
}

function subscribe(listener: () => void): () => void {
  addEventListener("popstate", listener);
  return () => removeEventListener("popstate", listener);
}

/** The id of the conversation that the address names; undefined for a new conversation. */
export function useChatId(): string | undefined {
  const address = useSyncExternalStore(subscribe, () => location.pathname);
  return /^\/c\/([^/]+)/.exec(address)?.[1];
}

/** A link that a click follows without a reload. A click with Ctrl opens a tab, as usual. */
export function Link({ href, onClick, ...rest }: ComponentProps<"a"> & { href: string }) {
  const onPlainClick = (event: MouseEvent<HTMLAnchorElement>) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    navigate(href);
    onClick?.(event);
  };
  return <a href={href} onClick={onPlainClick} {...rest} />;
}
