/**
 * What one shares, and what others let one read: two short lists.
 *
 * Knows the server's answers; an event says when to ask anew. Nothing is worked out here.
 */
import { api } from "./api.js";
import { Emitter } from "./emitter.js";

/** Emits "change". */
export class Shares extends Emitter {
  mine = [];
  received = [];

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

  /** Ask anew; what is shown stays when there is no answer. */
  refresh() {
    return this.load().catch((error) => console.debug(error));
  }

  /** Whether others can read a conversation. */
  has(conversationId) {
    return this.mine.some((share) => share.conversation_id === conversationId && !share.is_expired);
  }
}
