import { type Client, createClient } from "./client.js";
import type { Stream } from "./stream.js";
import { isEnded, type Snapshot } from "./types.js";

/** A pointer that moved less than this between press and release has stayed where it was. */
const STAYED_PX = 10;
const CSS = `
:host { white-space: pre-wrap; overflow-wrap: break-word }
button { margin-inline-start: .5em; font: inherit; font-size: .85em }
[role=alert] { color: light-dark(#b00020, #ff8a80) }
[hidden] { display: none }`;

/**
 * Define `<ink-stream src="…">text so far</ink-stream>`, and return its class.
 *
 * The text is the element's own content, shown as text and never as markup. The CSS part `stop` is
 * a button that is visible until the answer has ended. The CSS part `error` says why the answer
 * failed.
 * The attributes are `src`, `offset`, `stop-url`, `stop-label`, `stopping-label` and `background`.
 * `offset` is the offset after the text in the page; without `offset`, the element fetches the text
 * from its beginning. With `background`, the element follows the stream also while the page is
 * hidden.
 * The element reflects the stream's status in the attribute `status`, sets `aria-busy`, and
 * dispatches the events `ink-change`, `ink-end` and `ink-reset`. The events bubble, and their
 * `detail` is the snapshot.
 *
 * If an element with this name is already defined, return the existing class.
 */
export function defineInkStream(
  options: { client?: Client; name?: string } = {},
): CustomElementConstructor {
  const { client = createClient(), name = "ink-stream" } = options;
  const known = customElements.get(name);
  if (known) return known;

  // The class is defined inside a function, because a server may import this module, and a server
  // has no HTMLElement.
  class InkStream extends HTMLElement {
    static readonly observedAttributes = ["src"];

    #stream: Stream | undefined;
    #shown: Snapshot | undefined;
    /**
     * True from connectedCallback to disconnectedCallback. The browser's own `isConnected` is true
     * earlier than this field if the page had the element before the class was defined.
     */
    #connected = false;
    /** The text that the page had; undefined after the stream's own text replaced that text. */
    #before: string | undefined;
    readonly #button = document.createElement("button");
    readonly #error = document.createElement("span");

    constructor() {
      super();
      const root = this.attachShadow({ mode: "open" });
      const sheet = new CSSStyleSheet(); // a Content-Security-Policy may forbid an inline <style>
      sheet.replaceSync(CSS);
      root.adoptedStyleSheets = [sheet];
      this.#button.type = "button";
      this.#button.setAttribute("part", "stop");
      this.#button.hidden = true;
      this.#button.addEventListener("click", () => void this.#pressed());
      this.#button.addEventListener("pointerdown", (down) => {
        // The button moves while text arrives, so the pointer may be released beside the button,
        // and the browser then sends no click. Count the press if the pointer itself stayed.
        const release = (up: PointerEvent) => {
          const moved = Math.hypot(up.clientX - down.clientX, up.clientY - down.clientY);
          if (up.pointerId === down.pointerId && !down.button && moved < STAYED_PX)
            void this.#pressed();
        };
        addEventListener("pointerup", release, { once: true });
      });
      this.#error.setAttribute("part", "error");
      this.#error.setAttribute("role", "alert");
      root.append(document.createElement("slot"), this.#error, this.#button);
    }

    /** The stream's current snapshot. */
    get snapshot(): Snapshot | undefined {
      return this.#stream?.getSnapshot();
    }

    /** Ask the server to end the answer for all readers. */
    stop(): Promise<void> {
      return this.#stream?.stop() ?? Promise.resolve();
    }

    connectedCallback(): void {
      this.#connected = true;
      // The parser connects an element before the parser adds the element's text.
      if (document.readyState !== "loading") this.#start();
      else document.addEventListener("DOMContentLoaded", () => this.#start(), { once: true });
    }

    disconnectedCallback(): void {
      this.#connected = false;
      this.#stream?.disconnect();
    }

    attributeChangedCallback(): void {
      if (!this.#connected) return;
      if (this.#stream) {
        this.#stream.disconnect();
        this.#stream = undefined;
        this.#shown = undefined;
        this.textContent = "";
      }
      this.#start();
    }

    #start(): void {
      const src = this.getAttribute("src");
      if (!src || !this.#connected) return;
      if (this.#stream === undefined) {
        const text = this.textContent ?? "";
        const offset = this.getAttribute("offset");
        this.#before = text;
        this.#stream = client.stream(src, {
          stopUrl: this.getAttribute("stop-url") ?? undefined,
          background: this.hasAttribute("background") || undefined,
          initial: offset === null ? undefined : { offset, text },
        });
      }
      this.#stream.subscribe(() => this.#render());
      this.#render();
    }

    async #pressed(): Promise<void> {
      try {
        await this.stop();
      } catch (error) {
        this.#error.textContent = (error as Error).message;
      }
    }

    #render(): void {
      const snapshot = this.#stream?.getSnapshot();
      if (snapshot === undefined || snapshot === this.#shown) return;
      const before = this.#shown;
      this.#shown = snapshot;
      const { status, text, error, stopping } = snapshot;
      const ended = isEnded(status);
      // While the stream's text is only the beginning of the page's text, the page keeps its own
      // text, so that the visible text does not shrink.
      const { length } = text;
      const behind = length < (this.#before?.length ?? 0) && this.#before?.startsWith(text);
      const keep = behind && (!ended || error?.http !== undefined);
      if (!keep) {
        this.#before = undefined;
        this.#write(text);
      }
      this.setAttribute("status", status);
      this.setAttribute("aria-busy", String(!ended));
      this.#button.hidden = ended;
      // One press is enough, because the stop is stored until it is delivered.
      this.#button.disabled = stopping;
      this.#button.textContent = stopping
        ? (this.getAttribute("stopping-label") ?? "Stopping…")
        : (this.getAttribute("stop-label") ?? "Stop");
      this.#error.textContent = error && (error.message ?? error.code ?? "The answer failed.");
      this.#tell("ink-change", snapshot);
      if (before && snapshot.resets > before.resets) this.#tell("ink-reset", snapshot);
      if (ended) this.#tell("ink-end", snapshot);
    }

    /** Show a text. If possible, the existing text node grows, so that a selection survives. */
    #write(text: string): void {
      const node = this.firstChild;
      if (node instanceof Text && node === this.lastChild && text.startsWith(node.data)) {
        if (text.length > node.length) node.appendData(text.slice(node.length));
      } else this.textContent = text;
    }

    #tell(type: string, detail: Snapshot): void {
      this.dispatchEvent(new CustomEvent(type, { bubbles: true, composed: true, detail }));
    }
  }

  customElements.define(name, InkStream);
  return InkStream;
}
