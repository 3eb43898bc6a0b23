/** By how many characters a text exceeds the limit; negative if it is shorter than the limit. */
export function excess(text: string, limit: number): number {
  return [...text.trim()].length - limit;
}

/** Shows the limit of a question's length when the question comes near it. */
export function Limit({ id, over, limit }: { id: string; over: number; limit: number }) {
  if (!(over > -limit / 10)) return null;
  return (
    <p id={id} className={over > 0 ? "bad" : "note"}>
      {over > 0
        ? `${over.toLocaleString()} characters too many (the limit is ${limit.toLocaleString()})`
        : `${(-over).toLocaleString()} characters left`}
    </p>
  );
}
