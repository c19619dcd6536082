/**
 * What one shares, and what others let one read: two short lists.
 *
 * Knows the server's answers; an event says when to ask anew. Nothing is worked out here.
 */
import { api } from "./api.js";
import { Emitter } from "./emitter.js";

const PAUSE_MS = 1_000; // somebody may share in a loop; our own requests must not be used up

/** Emits "change". */
export class Shares extends Emitter {
  mine = [];
  received = [];
  #loading = null;
  #next = null;

  constructor(stream) {
    super();
    stream.on("event", ({ event }) => event.type === "shares" && this.refresh());
    stream.on("reset", () => this.refresh());
    document.addEventListener("visibilitychange", () => document.hidden || this.refresh()); // time ends some
  }

  async load() {
    const [mine, received] = await Promise.all([api.shares(), api.receivedShares()]);
    this.mine = mine.shares;
    this.received = received.shares;
    this.emit("change");
  }

  /** Ask anew, once for all who want it within a second; what is shown stays without an answer. */
  refresh() {
    if (!this.#loading) {
      this.#loading = this.#loadAndRest();
      return this.#loading;
    }
    this.#next ??= this.#loading.then(() => {
      this.#next = null;
      return this.refresh();
    });
    return this.#next;
  }

  async #loadAndRest() {
    await this.load().catch((error) => console.debug(error));
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    this.#loading = null;
  }

  /** Whether others can read a conversation. */
  has(conversationId) {
    return this.mine.some((share) => share.conversation_id === conversationId && !share.is_expired);
  }
}
