/**
 * The open conversation: its tree of messages and the reply that runs in it.
 *
 * The law of the cursor: every message knows the number `n` of the snapshot or event it is at, and
 * an event changes it only when its number is higher. While a request is under way whose answer
 * will replace rows, events wait, and are applied after it. So no character is lost or doubled,
 * whichever of the two arrives first.
 */
import { api } from "./api.js";
import { Emitter } from "./emitter.js";
import { parseCursor } from "./events.js";

const RUNNING = new Set(["pending", "streaming"]);
const WAITS = new Set(["queued", "loading", "prefill"]);

/** Emits "open" (another conversation), "structure" (rows came or went), "message" (id), "failed" (error), "notice". */
export class Transcript extends Emitter {
  id = null;
  conversation = null;
  messages = new Map();
  leafId = null;
  generation = null;
  loading = false;
  #held = [];
  #pending = 0;
  #visit = 0;
  #unknown = new Set();
  #stale = false;

  constructor(stream) {
    super();
    this.stream = stream;
    stream.on("event", ({ n, event }) => this.#receive(n, event));
    stream.on("reset", () => this.refresh());
  }

  /** Show the conversation `id`, or none. */
  async open(id) {
    if (id === this.id && this.conversation) return;
    this.#visit += 1;
    Object.assign(this, { id, conversation: null, messages: new Map(), leafId: null, generation: null });
    this.#held = [];
    this.#pending = 0;
    this.#stale = false;
    this.#unknown.clear();
    this.loading = id !== null;
    this.emit("open");
    if (id !== null) await this.refresh();
  }

  /** Fetch the conversation anew and put it in place of what is here. */
  async refresh() {
    if (this.id === null) return;
    if (this.#pending > 0) {
      this.#stale = true;
      return;
    }
    try {
      await this.#hold(() => api.conversation(this.id), (snapshot) => this.#install(snapshot));
    } catch (error) {
      this.loading = false;
      this.emit("failed", error);
    }
  }

  /** The messages from the first to the shown leaf. */
  path() {
    const path = [];
    for (let message = this.messages.get(this.leafId); message; message = this.messages.get(message.parent_id)) {
      path.push(message);
    }
    return path.reverse();
  }

  /** What the newest reply's model does not see of the shown branch; null while it sees all. */
  get leftOut() {
    const replies = this.path().filter((message) => message.role === "assistant");
    const told = replies.findLast((message) => message.left_out || !message.running);
    return told?.left_out?.messages ? told.left_out : null;
  }

  /** Choose what happens when this conversation is longer than the context. */
  async chooseOverflow(policy) {
    const id = this.id;
    const { conversation } = await api.changeConversation(id, { context_overflow: policy });
    if (id === this.id) this.conversation = conversation;
  }

  /** The versions of a message: all with its parent and role, oldest first. */
  versions(message) {
    return [...this.messages.values()].filter((other) => other.parent_id === message.parent_id);
  }

  get busy() {
    return this.generation !== null;
  }

  /** Show the branch of `message` and remember it on the server. */
  async choose(message) {
    this.leafId = this.#deepest(message.id);
    this.emit("structure");
    const id = this.id;
    const { conversation } = await api.changeConversation(id, { active_leaf_id: this.leafId });
    if (id === this.id) this.conversation = conversation;
  }

  /** Send `text` after `parentId`; makes the conversation when there is none yet. */
  async send(text, parentId = this.leafId) {
    if (this.id === null) {
      const visit = this.#visit;
      const { conversation } = await api.createConversation();
      if (visit !== this.#visit) return;
      this.id = conversation.id;
      this.conversation = conversation;
      try {
        await this.#turn({ mode: "send", parent_id: null, text });
      } catch (error) {
        if (visit === this.#visit && this.messages.size === 0) this.id = this.conversation = null;
        throw error;
      }
      if (visit === this.#visit) this.emit("created", this.id);
      return;
    }
    await this.#turn({ mode: "send", parent_id: parentId, text });
  }

  retry(messageId) {
    return this.#turn({ mode: "retry", message_id: messageId });
  }

  continueReply(messageId) {
    return this.#turn({ mode: "continue", message_id: messageId });
  }

  edit(messageId, text) {
    return this.#turn({ mode: "edit", message_id: messageId, text });
  }

  async stop() {
    if (this.generation) await api.stopGeneration(this.generation.id);
  }

  async #turn(body) {
    const id = this.id;
    await this.#hold(
      () => api.takeTurn(id, body),
      (turn) => this.#merge(turn),
    );
  }

  /** Run a request with events held back; drop its answer when the reader has gone elsewhere. */
  async #hold(request, use) {
    const visit = this.#visit;
    this.#pending += 1;
    try {
      const answer = await request();
      if (visit === this.#visit) use(answer);
    } finally {
      if (visit === this.#visit) {
        this.#pending -= 1;
        if (this.#pending === 0) this.#release();
      }
    }
  }

  #release() {
    const held = this.#held.splice(0);
    for (const { n, event } of held) this.#apply(n, event);
    if (this.#stale) {
      this.#stale = false;
      this.refresh();
    }
  }

  #install(snapshot) {
    const { n } = parseCursor(snapshot.cursor);
    const before = this.messages;
    this.messages = new Map(snapshot.messages.map((view) => [view.id, place(view, n, before.get(view.id))]));
    this.generation = snapshot.generation;
    this.#adoptPhase(snapshot.generation);
    this.loading = false;
    this.#follow(snapshot.conversation);
    this.#cover(snapshot.cursor);
    this.emit("structure");
  }

  /** Take over what the running reply waits for; what this tab knew of that may be over. */
  #adoptPhase(generation) {
    const message = this.messages.get(generation?.message_id);
    if (!message?.running) return;
    if (generation.phase) message.phase = generation.phase;
    else if (WAITS.has(message.phase?.type)) message.phase = null;
  }

  #merge(turn) {
    const { n } = parseCursor(turn.cursor);
    for (const view of turn.messages) this.messages.set(view.id, place(view, n, this.messages.get(view.id)));
    if (turn.generation) this.generation = turn.generation;
    this.#follow(turn.conversation);
    this.#cover(turn.cursor);
    this.emit("structure");
    this.emit("turn", turn);
  }

  /** Events that wait are later than those the stream now goes back for: they come again, in order. */
  #cover(cursor) {
    if (this.stream.cover(cursor)) this.#held = [];
  }

  #follow(conversation) {
    this.conversation = conversation;
    const leaf = conversation.active_leaf_id;
    this.leafId = this.messages.has(leaf) ? leaf : ([...this.messages.keys()].at(-1) ?? null);
  }

  #receive(n, event) {
    if (event.type === "conversations") this.#conversationChanged(event);
    if (event.conversation_id === undefined || event.conversation_id !== this.id) return;
    if (this.#pending > 0) this.#held.push({ n, event });
    else this.#apply(n, event);
  }

  #conversationChanged({ conversation, deleted_id: deletedId }) {
    if (deletedId && deletedId === this.id) {
      this.emit("deleted");
      return;
    }
    if (!conversation || conversation.id !== this.id || !this.conversation) return;
    const missed = conversation.version > this.conversation.version;
    if (missed && this.#pending > 0) this.#stale = true;
    else if (missed && conversation.active_leaf_id !== this.leafId) this.refresh();
    if (!missed || this.#pending > 0) return;
    this.conversation = conversation;
    this.emit("title");
  }

  #apply(n, event) {
    const message = this.messages.get(event.message_id);
    if (!message) {
      if (this.#unknown.has(event.message_id)) return;
      this.#unknown.add(event.message_id); // once: a message that the answer does not have is gone
      this.refresh();
      return;
    }
    if (n <= message.n) return;
    message.n = n;
    if (event.type === "notice") {
      this.emit("notice", event);
      return;
    }
    if (event.type === "done" || event.type === "error") {
      this.#end(message, event.type === "done" ? event.message : event.message_view, n);
      return;
    }
    this.generation ??= { id: event.generation_id, message_id: message.id };
    if (event.type === "left_out") {
      message.left_out = event.left_out;
      this.emit("structure");
      return;
    }
    progress(message, event);
    this.emit("message", message.id);
  }

  #end(message, view, n) {
    this.messages.set(message.id, place(view, n, message));
    if (this.generation?.message_id === message.id) this.generation = null;
    this.emit("message", message.id);
    this.emit("ended", message.id);
  }

  #deepest(id) {
    const last = new Map();
    for (const message of this.messages.values()) last.set(message.parent_id, message.id);
    let leaf = id;
    while (last.has(leaf)) leaf = last.get(leaf);
    return leaf;
  }
}

/** A row as the page keeps it: the server's view, its number, and what only this tab knows. */
function place(view, n, before) {
  const running = RUNNING.has(view.status);
  return {
    ...view,
    text: view.text ?? "",
    reasoning: view.reasoning ?? "",
    n,
    running,
    phase: running ? (before?.phase ?? null) : null,
    toolCalls: before?.toolCalls ?? [],
    thinkingSince: before?.thinkingSince ?? null,
    thoughtSeconds: view.reasoning_s ?? before?.thoughtSeconds ?? (before?.thinkingSince ? secondsSince(before.thinkingSince) : null),
  };
}

function secondsSince(time) {
  return (performance.now() - time) / 1000;
}

/** Apply one event of a running reply to its row. */
function progress(message, event) {
  message.running = true;
  message.phase = event;
  if (event.type === "reasoning") {
    message.reasoning += event.text;
    message.thinkingSince ??= performance.now();
    message.thoughtSeconds = null; // not done yet
  } else if (event.type === "text") {
    message.text += event.text;
    if (message.thinkingSince && message.thoughtSeconds === null) {
      message.thoughtSeconds = secondsSince(message.thinkingSince);
    }
  } else if (event.type === "tool_call") {
    message.toolCalls = [...message.toolCalls, { name: event.name, arguments: event.arguments }];
  }
}
