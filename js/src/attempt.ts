/**
 * The reason for which this page ended a request. `left`: the page needs no response. `again`: a
 * new request follows. `mute`: no response or no byte arrived in time. `silent`: a connection that
 * had worked became silent.
 */
export type Reason = "left" | "again" | "mute" | "silent";

/** One request, with a timer that aborts the request. */
export class Attempt {
  readonly at = Date.now();
  readonly #controller = new AbortController();
  readonly signal = this.#controller.signal;
  #timer: ReturnType<typeof setTimeout> | undefined;

  give(ms: number, otherwise: Reason): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.end(otherwise), ms);
  }

  end(reason: Reason): void {
    clearTimeout(this.#timer);
    this.#controller.abort(reason);
  }
}
