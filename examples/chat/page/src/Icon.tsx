const PATHS = {
  menu: "M4 7h16M4 12h16M4 17h16",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  bin: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
  check: "M5 13l4 4L19 7",
  again: "M20 12a8 8 0 1 1-2.5-5.8M20 3v4h-4",
  back: "M15 5l-7 7 7 7",
  forth: "M9 5l7 7-7 7",
  send: "M12 20V5M5 12l7-7 7 7",
  down: "M12 5v14M5 12l7 7 7-7",
};

/** A small drawing in the colour of the text. The button around it has a label in words. */
export function Icon({ name }: { name: keyof typeof PATHS }) {
  return (
    <svg viewBox="0 0 24 24" width="1.15em" height="1.15em" aria-hidden="true">
      <path
        d={PATHS[name]}
        fill="none"
        stroke="currentColor"
        strokeWidth="1.8"
        strokeLinecap="round"
        strokeLinejoin="round"
      />
    </svg>
  );
}
