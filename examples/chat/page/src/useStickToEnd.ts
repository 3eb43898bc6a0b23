import { type RefCallback, useCallback, useRef, useState } from "react";

const NEAR_PX = 60;

/** Keep an element scrolled to its end while it grows, unless the reader has scrolled up. */
export function useStickToEnd(): {
  box: RefCallback<HTMLElement>;
  away: boolean;
  jump: () => void;
} {
  const [away, setAway] = useState(false);
  const stick = useRef(() => {});
  const box = useCallback((element: HTMLElement) => {
    let stuck = true;
    const follow = () => {
      if (stuck) element.scrollTop = element.scrollHeight;
    };
    const onScroll = () => {
      stuck = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_PX;
      setAway(!stuck);
    };
    stick.current = () => {
      stuck = true;
      follow();
    };
    const observer = new ResizeObserver(follow);
    element.addEventListener("scroll", onScroll, { passive: true });
    observer.observe(element);
    if (element.firstElementChild) observer.observe(element.firstElementChild);
    return () => {
      element.removeEventListener("scroll", onScroll);
      observer.disconnect();
    };
  }, []);
  return { box, away, jump: useCallback(() => stick.current(), []) };
}
