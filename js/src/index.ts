export { type Client, type ClientOptions, createClient } from "./client.js";
export type { StopStorage } from "./kept.js";
export type { Stream, StreamOptions } from "./stream.js";
export type { DataTypes } from "./vocabulary.js";
export {
  type HeadersSource,
  type Initial,
  InkstreamError,
  isEnded,
  type Part,
  type Snapshot,
  type Status,
  type StreamError,
} from "./types.js";
