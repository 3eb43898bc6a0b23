import { Icon } from "./Icon";
import { send } from "./server";
import { useNotice } from "./useNotice";

/** `‹ 1 / 2 ›`: shows the number of the version, and chooses another version in all windows. */
export function Versions({ of, ids, shown }: { of: string; ids: readonly number[]; shown: number }) {
  const [refusal, refuse] = useNotice();
  const index = ids.indexOf(shown);
  const choose = async (id: number | undefined) => {
    if (id !== undefined) refuse((await send("POST", `/api/turns/${id}/choose`)).refusal);
  };
  if (ids.length < 2) return null;
  const arrow = (name: "back" | "forth", label: string, id: number | undefined) => (
    <button
      className="icon"
      aria-label={`${label} ${of}`}
      title={`${label} ${of}`}
      aria-disabled={id === undefined}
      onClick={() => void choose(id)}
    >
      <Icon name={name} />
    </button>
  );
  return (
    <span className="versions" role="group" aria-label={`Versions of the ${of}`}>
      {arrow("back", "Previous", ids[index - 1])}
      <span>
        {index + 1} / {ids.length}
      </span>
      {arrow("forth", "Next", ids[index + 1])}
      {refusal && <span role="alert">{refusal}</span>}
    </span>
  );
}
