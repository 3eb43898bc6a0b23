import { expect, it } from "vitest";
import { below, withQuery } from "../src/address.js";
import { retryAfterMs } from "../src/backoff.js";

it.each([
  ["/streams", "a", "/streams/a"],
  ["/streams/", "a/b?c#d", "/streams/a%2Fb%3Fc%23d"],
  ["https://h.invalid/s?tenant=1#x", "ü", "https://h.invalid/s/%C3%BC?tenant=1"],
  ["", "a", "/a"],
])("below %s, %s is %s", (address, segment, expected) => {
  expect(below(address, segment)).toBe(expected);
});

it.each([
  ["/s/a", {}, "/s/a"],
  ["/s/a#top", { offset: "1_2" }, "/s/a?offset=1_2"],
  ["/s/a?t=1", { format: "json", offset: "1_2" }, "/s/a?t=1&format=json&offset=1_2"],
])("%s with %o is %s", (address, query, expected) => {
  expect(withQuery(address, query)).toBe(expected);
});

it.each([
  [undefined, 0],
  ["", 0],
  ["3", 3_000],
  ["soon", 0],
  ["Thu, 01 Jan 1970 00:00:00 GMT", 0],
])("Retry-After: %s asks for %i ms", (value, ms) => {
  const headers = value === undefined ? {} : { "retry-after": value };
  expect(retryAfterMs(new Response("", { headers }))).toBe(ms);
});

it("Retry-After may be a date", () => {
  const date = new Date(Date.now() + 60_000).toUTCString();
  const ms = retryAfterMs(new Response("", { headers: { "retry-after": date } }));
  expect(ms).toBeGreaterThan(50_000);
  expect(ms).toBeLessThanOrEqual(60_000);
});
