/** Stops that were asked for and have not reached the server yet. */

/** Where stops are kept until they are delivered. A stop is a line of text, opaque to a storage. */
export interface StopStorage {
  keep(stop: string): void;
  drop(stop: string): void;
  /** Return what is kept, other windows' stops included where they share the storage. */
  all(): readonly string[];
}

const PREFIX = "inkstream:stop:";
/** An answer that runs longer is none that somebody still wants to stop by an old press. */
const DAY_MS = 86_400_000;

/** Keep stops in the page's `localStorage`, so that they outlive a reload; else in memory. */
export function pageStops(): StopStorage {
  // One key a stop: windows that share one list would overwrite each other's entries.
  const memory = new Map<string, string>();
  const stored = <T>(use: (storage: Storage) => T): T | undefined => {
    try {
      return use(localStorage);
    } catch {
      return undefined; // none here, forbidden, or full
    }
  };
  return {
    keep(stop) {
      const now = String(Date.now());
      memory.set(stop, now);
      stored((storage) => storage.setItem(PREFIX + stop, now));
    },
    drop(stop) {
      memory.delete(stop);
      stored((storage) => storage.removeItem(PREFIX + stop));
    },
    all() {
      const found = new Map(memory);
      stored((storage) => {
        for (let n = 0; n < storage.length; n++) {
          const key = storage.key(n) ?? "";
          if (key.startsWith(PREFIX))
            found.set(key.slice(PREFIX.length), storage.getItem(key) ?? "");
        }
      });
      const young = [...found].filter(([, at]) => Date.now() - +at < DAY_MS);
      return young.map(([stop]) => stop);
    },
  };
}
