/** Return the absolute URL of an address. Outside of a page, return the address unchanged. */
export function absolute(address: string | URL): string {
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  return base ? new URL(address, base).href : String(address);
}

/** Return the origin of an address, or an empty string if the origin is unknown. */
export function origin(address: string): string {
  return /^[a-z]+:\/\/[^/?#]+/i.exec(absolute(address))?.[0] ?? "";
}

/** Add a path segment and keep the query: `/s?a=1` and `x` give `/s/x?a=1`. */
export function below(address: string, segment: string): string {
  const [, path = "", query = ""] = /^([^?#]*)(\?[^#]*)?/.exec(address) ?? [];
  return `${path.replace(/\/+$/, "")}/${encodeURIComponent(segment)}${query}`;
}

/** Return the address without its fragment, and with the parameters `query` added. */
export function withQuery(address: string, query: Record<string, string>): string {
  const more = new URLSearchParams(query).toString();
  const base = address.replace(/#.*$/s, "");
  return more === "" ? base : `${base}${base.includes("?") ? "&" : "?"}${more}`;
}
