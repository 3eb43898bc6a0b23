/** Stores each stop, as one line of text, until the server has confirmed it. */
export interface StopStorage {
  keep(stop: string): void;
  drop(stop: string): void;
  /** Return the stored stops, including stops from other windows with the same storage. */
  all(): readonly string[];
}

const PREFIX = "inkstream:stop:";
/** The age from which a stop is not sent, because the user no longer waits for the answer. */
const DAY_MS = 86_400_000;

/** Store stops in memory and, if possible, in `localStorage`, where stops survive a reload. */
export function pageStops(): StopStorage {
  // Each stop has a key of its own, because windows that share one list would overwrite each
  // other's entries.
  const memory = new Map<string, string>();
  const stored = <T>(use: (storage: Storage) => T): T | undefined => {
    try {
      return use(localStorage);
    } catch {
      return undefined; // localStorage is absent, forbidden, or full
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
