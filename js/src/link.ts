/** Follow several streams with one request: a POST to the address that the mount offers. */
import { isPassing } from "./backoff.js";
import type { EventSourceMessage } from "eventsource-parser";
import { chunksOf, eventBatches } from "./events.js";
import type { Answer, Others, Question } from "./question.js";
import { type Refusal, refusal } from "./problem.js";
import { takeSlot } from "./slots.js";

/** How many streams the server accepts in one request. */
const MOST = 64;
/** Streams that begin within this time share a request. */
const JOIN_MS = 50;
/** A reader gets an empty batch only if it got no other batch for this long. */
const HEARD_MS = 5_000;
const NOT_FOUND: Refusal = { status: 404, code: "not_found" };

/** Snapshots of several streams, by stream id. */
interface Batch {
  readonly streams: Readonly<Record<string, unknown>>;
  readonly refused: Readonly<Record<string, Refusal>>;
}

/** A reader's request for one stream, which a shared connection answers. */
class Member {
  offset: string | null;
  carrier: Carrier | undefined;
  ended = false;
  readonly answer: Promise<Answer>;
  #answered = false;
  #heardAt = 0;
  #settle!: (answer: Answer | Promise<Answer>) => void;
  #events: ReadableStreamDefaultController<EventSourceMessage[]> | undefined;

  constructor(
    readonly id: string,
    readonly question: Question,
  ) {
    this.offset = question.offset;
    this.answer = new Promise((resolve) => (this.#settle = resolve));
  }

  /** Give the reader a refusal, a snapshot, or the response to a request for this stream alone. */
  readonly settle = (answer: Answer | Promise<Answer>): void => {
    if (this.#answered) return this.lose();
    this.#answered = true;
    this.#settle(answer);
  };

  /** Give the reader a sequence of events, to which `pass` adds batches. */
  open(): void {
    if (this.#answered) return;
    const start = (it: ReadableStreamDefaultController<EventSourceMessage[]>) => {
      this.#events = it;
    };
    this.settle(chunksOf(new ReadableStream({ start })));
  }

  /** Give the reader events of its stream. An empty batch shows that the connection works. */
  pass(batch: EventSourceMessage[] = []): void {
    if (!batch.length && Date.now() - this.#heardAt < HEARD_MS) return;
    this.#heardAt = Date.now();
    for (const { event, id } of batch) {
      if (id) this.offset = id;
      this.ended ||= event === "end" || event === "refused";
    }
    this.#do((events) => events.enqueue(batch));
  }

  /** Tell the reader that its connection is lost. */
  lose(error?: unknown): void {
    if (!this.#answered) this.#settle(Promise.reject(error as Error));
    this.#answered = true;
    this.#do((events) => events.error(error));
  }

  #do(work: (events: ReadableStreamDefaultController<EventSourceMessage[]>) => void): void {
    try {
      if (this.#events) work(this.#events);
    } catch {
      // the reader has stopped
    }
  }
}

class Carrier {
  readonly #controller = new AbortController();
  readonly signal = this.#controller.signal;
  isOpen = false;
  /** True if the request contains a stream that no longer has a reader on this page. */
  isStale = false;

  constructor(readonly members: readonly Member[]) {}

  drop(): void {
    this.#controller.abort("left");
  }
}

/** The readers of one mount with the same headers, on one connection. */
export class Link {
  /** The members by stream id. If a reader repeats its request, a new member replaces the old. */
  readonly #members = new Map<string, Member>();
  readonly #polls = new Map<string, Member>();
  #carrier: Carrier | undefined;
  /** All carriers, including a carrier that a new carrier is about to replace. */
  readonly #carriers = new Set<Carrier>();
  #joining: ReturnType<typeof setTimeout> | undefined;
  #polling: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly mount: string,
    private readonly headers: Headers,
    private readonly others: Others,
  ) {}

  get hasRoom(): boolean {
    return this.#members.size < MOST && this.#polls.size < MOST;
  }

  /** Request one stream together with the other streams of this link. */
  ask(id: string, question: Question): Promise<Answer> {
    const member = new Member(id, question);
    if (question.json) this.#poll(member);
    else {
      this.#members.set(id, member);
      this.#change();
      question.signal.addEventListener("abort", () => this.#leave(member), { once: true });
    }
    return member.answer;
  }

  #leave(member: Member): void {
    if (this.#members.get(member.id) !== member) return; // replaced by a newer request
    this.#members.delete(member.id);
    member.lose(member.question.signal.reason);
    if (!this.#members.size) return this.#dropAll();
    if (member.ended) return;
    if (this.#carrier) this.#carrier.isStale = true;
    this.#change();
  }

  /** Open a connection a moment later, for all readers that this link then has. */
  #change(): void {
    const idle = !this.#carrier;
    if (idle && !this.#joining) this.others.gather(this.mount);
    this.#joining ??= setTimeout(
      () => {
        this.#joining = undefined;
        this.#open().catch(() => {});
      },
      idle ? 0 : JOIN_MS,
    );
  }

  async #open(): Promise<void> {
    const members = [...this.#members.values()];
    const before = this.#carrier;
    if (before && !before.isStale && members.every((it) => before.members.includes(it))) return;
    if (!members.length) return;
    const carrier = new Carrier(members);
    this.#carrier = carrier;
    this.#carriers.add(carrier);
    carrier.signal.addEventListener("abort", () => this.#carriers.delete(carrier));
    if (!(await takeSlot(this.mount, carrier.signal))) {
      if (!before) return this.#pollInstead(carrier);
      before.drop(); // frees a slot; the new request contains offsets, so no text is lost
      if (!(await takeSlot(this.mount, carrier.signal))) return this.#pollInstead(carrier);
    }
    if (carrier.signal.aborted) return;
    const response = await this.#send(members, "text/event-stream", carrier.signal).catch(
      (error: unknown) => error as Error,
    );
    if (carrier.signal.aborted) return;
    if (response instanceof Response && isType(response, "text/event-stream"))
      await this.#read(carrier, before, response);
    else await this.#failed(carrier, before, response);
  }

  #send(members: readonly Member[], accept: string, signal: AbortSignal): Promise<Response> {
    const streams = Object.fromEntries(members.map(({ id, offset }) => [id, offset]));
    const init: RequestInit = {
      method: "POST",
      headers: { accept, "content-type": "application/json" },
      body: JSON.stringify({ streams }),
      cache: "no-store",
      signal,
    };
    return this.others.send(this.others.offers.get(this.mount) ?? "", init, this.headers);
  }

  async #read(carrier: Carrier, before: Carrier | undefined, { body }: Response): Promise<void> {
    let lost: unknown;
    let member: Member | undefined;
    try {
      for await (const batch of eventBatches(body as ReadableStream<Uint8Array>)) {
        if (!carrier.isOpen) this.#opened(carrier, before);
        const heard = new Map<Member | undefined, EventSourceMessage[]>();
        for (const message of batch) {
          const named = message.event === "stream" || message.event === "refused";
          if (named) member = this.#named(carrier, message.data);
          if (message.event === "stream") continue;
          heard.get(member)?.push(message) ?? heard.set(member, [message]);
        }
        for (const it of carrier.members) it.pass(heard.get(it));
      }
    } catch (error) {
      lost = error;
    }
    this.#lost(carrier, lost);
  }

  #named(carrier: Carrier, data: string): Member | undefined {
    const { stream_id } = JSON.parse(data) as { stream_id: string };
    return carrier.members.find((it) => it.id === stream_id);
  }

  /** Close the earlier connection `before`, because the new connection `carrier` works. */
  #opened(carrier: Carrier, before: Carrier | undefined): void {
    carrier.isOpen = true;
    for (const member of carrier.members) {
      member.carrier = carrier;
      member.open();
    }
    before?.drop();
  }

  #lost(carrier: Carrier, error: unknown): void {
    if (carrier.signal.aborted) return; // this page closed the connection itself
    if (this.#carrier === carrier) this.#carrier = undefined;
    carrier.drop();
    for (const member of carrier.members) {
      // Skip a stream that another connection carries or will carry.
      if (member.carrier !== carrier || this.#carrier?.members.includes(member)) continue;
      this.#forget(member);
      member.lose(error);
    }
  }

  /** Handle a request for events that brought none: each reader without a connection gets `why`. */
  async #failed(
    carrier: Carrier,
    before: Carrier | undefined,
    why: Response | Error,
  ): Promise<void> {
    if (this.#carrier === carrier) this.#carrier = before?.signal.aborted ? undefined : before;
    const waiting = carrier.members.filter((it) => !it.carrier || it.carrier.signal.aborted);
    if (why instanceof Response) await this.#refused(waiting, why, carrier);
    else for (const member of waiting) member.lose(why);
    carrier.drop();
    for (const member of waiting) this.#forget(member);
  }

  /**
   * Handle a refused request for several streams. If the server refuses this user, or if a retry
   * may succeed, all readers get the response. Any other response says that the mount does not do
   * what it offers. The client then forgets the offer, and requests the streams one by one.
   */
  async #refused(members: readonly Member[], why: Response, carrier?: Carrier): Promise<void> {
    const { status } = why;
    const concernsAll = isPassing(status) || status === 401 || status === 403;
    const text = concernsAll && (await why.text().catch(() => ""));
    if (!concernsAll) this.others.offers.set(this.mount, "");
    carrier?.drop(); // after the text, which an abort would discard; frees a slot
    for (const { question, settle } of members)
      settle(text === false ? this.others.direct(question) : new Response(text, why));
  }

  /** Forget a member, unless a newer request has replaced it. */
  #forget(member: Member): void {
    if (this.#members.get(member.id) === member) this.#members.delete(member.id);
  }

  #dropAll(): void {
    clearTimeout(this.#joining);
    this.#joining = undefined;
    this.#carrier = undefined;
    for (const carrier of this.#carriers) carrier.drop();
  }

  // Snapshots ---------------------------------------------------------------------------------

  /** Read snapshots, because other windows use all connections for events. */
  #pollInstead(carrier: Carrier): void {
    this.#carrier = undefined;
    carrier.drop();
    for (const member of carrier.members) {
      this.#members.delete(member.id);
      if (member.carrier) member.lose();
      else this.#poll(member);
    }
  }

  #poll(member: Member): void {
    this.#polls.set(member.id, member);
    if (!this.#polling) this.others.gather(this.mount);
    this.#polling ??= setTimeout(() => {
      this.#polling = undefined;
      const members = [...this.#polls.values()];
      this.#polls.clear();
      void this.#snapshots(members);
    }, JOIN_MS);
  }

  async #snapshots(members: readonly Member[]): Promise<void> {
    const asked = members.filter((it) => !it.question.signal.aborted);
    try {
      const one = (it: Member) => it.settle(this.others.direct({ ...it.question, json: true }));
      if (asked.length < 2) return asked.forEach(one);
      const response = await this.#send(asked, "application/json", AbortSignal.timeout(15_000));
      if (!isType(response, "application/json")) return await this.#refused(asked, response);
      const { streams, refused } = (await response.json()) as Batch;
      for (const { id, settle } of asked) {
        const found = streams[id];
        settle(found ? snapshot(found) : refusal(refused[id] ?? NOT_FOUND));
      }
    } catch (error) {
      for (const member of asked) member.lose(error);
    }
  }
}

function isType(response: Response, type: string): boolean {
  return response.ok && !!response.headers.get("content-type")?.startsWith(type);
}

/** Turn one stream's snapshot in a batch into a response, as if the reader had requested it alone. */
function snapshot(found: unknown): Response {
  return new Response(JSON.stringify(found), { headers: { "content-type": "application/json" } });
}
