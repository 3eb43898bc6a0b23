/** How many characters a text has too many; negative while there is room. */
export function excess(text: string, limit: number): number {
  return [...text.trim()].length - limit;
}

/** Says the limit of a question when it comes near. */
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
