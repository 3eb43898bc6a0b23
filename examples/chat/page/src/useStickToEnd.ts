import { type RefCallback, useCallback } from "react";

const NEAR_PX = 60;

/** Keep an element scrolled to its end while it grows, unless the reader has scrolled up. */
export function useStickToEnd(): RefCallback<HTMLElement> {
  return useCallback((box: HTMLElement) => {
    let stuck = true;
    const onScroll = () => {
      stuck = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX;
    };
    const observer = new ResizeObserver(() => {
      if (stuck) box.scrollTop = box.scrollHeight;
    });
    box.addEventListener("scroll", onScroll, { passive: true });
    observer.observe(box);
    if (box.firstElementChild) observer.observe(box.firstElementChild);
    return () => {
      box.removeEventListener("scroll", onScroll);
      observer.disconnect();
    };
  }, []);
}
