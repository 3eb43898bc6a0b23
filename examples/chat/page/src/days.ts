import type { Chat } from "./server";

/** Group conversations, which are sorted, under headings: the last days, and then months. */
export function byDay(chats: readonly Chat[], today: number): [day: string, chats: Chat[]][] {
  const now = new Date(today);
  const year = now.getFullYear();
  // Midnight is found by the calendar, because a day has 23 or 25 hours when the clock changes.
  const midnight = (days: number) => new Date(year, now.getMonth(), now.getDate() - days).getTime();
  // This formatter is made once, because it takes much longer to make than to use.
  const month = new Intl.DateTimeFormat("en", { month: "long", year: "numeric" });

  const heading = (at: number) => {
    if (at >= today) return "Today";
    if (at >= midnight(1)) return "Yesterday";
    if (at >= midnight(7)) return "Previous 7 days";
    return month.format(at).replace(` ${year}`, "");
  };
  const groups = new Map<string, Chat[]>();
  for (const chat of chats) {
    const day = heading(chat.changed_at * 1000);
    const group = groups.get(day);
    if (group) group.push(chat);
    else groups.set(day, [chat]);
  }
  return [...groups];
}
