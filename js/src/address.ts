/** Addresses as strings: they may be relative, which `URL` cannot say. */

/** Return an address that means the same on every page of the site. */
export function absolute(address: string | URL): string {
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  return base ? new URL(address, base).href : String(address);
}

/** Return the server that an address is of; empty where that cannot be known. */
export function origin(address: string): string {
  return /^[a-z]+:\/\/[^/?#]+/i.exec(absolute(address))?.[0] ?? "";
}

/** Return the address one segment below, its query kept: `/s?a=1` and `x` give `/s/x?a=1`. */
export function below(address: string, segment: string): string {
  const [, path = "", query = ""] = /^([^?#]*)(\?[^#]*)?/.exec(address) ?? [];
  return `${path.replace(/\/+$/, "")}/${encodeURIComponent(segment)}${query}`;
}

/** Return the address with more in its query. */
export function withQuery(address: string, query: Record<string, string>): string {
  const more = new URLSearchParams(query).toString();
  const base = address.replace(/#.*$/s, "");
  return more === "" ? base : `${base}${base.includes("?") ? "&" : "?"}${more}`;
}
