/** Stops that have not reached the server yet. */

/** Stores stops until they are delivered. A stop is stored as one line of text. */
export interface StopStorage {
  keep(stop: string): void;
  drop(stop: string): void;
  /** Return the stored stops, including those of other windows with the same storage. */
  all(): readonly string[];
}

const PREFIX = "inkstream:stop:";
/** The age at which a stop is dropped, because its user no longer waits for that answer. */
const DAY_MS = 86_400_000;

/** Store stops in `localStorage`, so that they survive a reload, or in memory if there is none. */
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
