const GAP_S = 15 * 60;

/** The time, where a question comes long after the one before. */
export function Separator({ at, before }: { at: number; before: number | undefined }) {
  if (before !== undefined && at - before < GAP_S) return null;
  const date = new Date(at * 1000);
  const today = date.toDateString() === new Date().toDateString();
  const text = date.toLocaleString(undefined, {
    ...(today ? {} : { dateStyle: "medium" }),
    timeStyle: "short",
  });
  return (
    <time className="separator" dateTime={date.toISOString()}>
      {text}
    </time>
  );
}
