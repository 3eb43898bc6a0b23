/** Why this page gave up an attempt. */
export type Reason = "left" | "again" | "mute" | "silent";

/** One request, with the timer that abandons it. */
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
