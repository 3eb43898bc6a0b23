const GAP_S = 15 * 60;

/** The time, shown before a question that was asked long after the previous question. */
export function Separator({
  at,
  before,
  today,
}: {
  at: number;
  before: number | undefined;
  today: number;
}) {
  if (before !== undefined && at - before < GAP_S) return null;
  const date = new Date(at * 1000);
  const text = date.toLocaleString(undefined, {
    ...(at * 1000 >= today ? {} : { dateStyle: "medium" }),
    timeStyle: "short",
  });
  return (
    <time className="separator" dateTime={date.toISOString()}>
      {text}
    </time>
  );
}
