import { type RefCallback, useCallback, useRef, useState } from "react";
import { flushSync } from "react-dom";

const NEAR_PX = 60;

/** Keep an element scrolled to the bottom while it grows, unless the user has scrolled up. */
export function useStickToEnd(): {
  box: RefCallback<HTMLElement>;
  away: boolean;
  jump: () => void;
} {
  const [away, setAway] = useState(false);
  const stick = useRef(() => {});
  const box = useCallback((element: HTMLElement) => {
    let stuck = true;
    const isNear = () =>
      element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_PX;
    const follow = () => {
      if (stuck) element.scrollTop = element.scrollHeight;
      setAway(!isNear()); // also if the content below was removed
    };
    const onScroll = () => {
      stuck = isNear();
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

/** Change the content above an element without moving the element on the screen. */
export function keepInPlace(element: Element, box: Element, change: () => void): void {
  const before = element.getBoundingClientRect().top;
  flushSync(change);
  box.scrollTop += element.getBoundingClientRect().top - before;
}
