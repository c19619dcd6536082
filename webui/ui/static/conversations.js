/**
 * The list of conversations, as far as it is loaded, newest first.
 *
 * Answers and events meet here in any order: of two views of one conversation the newer counts.
 */
import { api } from "./api.js";
import { Emitter } from "./emitter.js";

const PAGE = 50;

function isNewer(view, known) {
  if (view.version !== known.version) return view.version > known.version;
  return view.updated_at >= known.updated_at;
}

/** Emits "change". */
export class Conversations extends Emitter {
  #items = new Map();
  #deleted = new Set();
  #next = null;
  #fetching = null;
  loaded = false;

  constructor(stream) {
    super();
    stream.on("event", ({ event }) => event.type === "conversations" && this.#receive(event));
    stream.on("reset", () => this.load());
  }

  get hasMore() {
    return this.#next !== null;
  }

  /** Those loaded, newest first; one that nothing was said in yet is not there. */
  list() {
    const spoken = [...this.#items.values()].filter((view) => view.active_leaf_id !== null);
    return spoken.sort((a, b) => (a.updated_at < b.updated_at ? 1 : -1));
  }

  get(id) {
    return this.#items.get(id) ?? null;
  }

  /** Fetch the first page; what is already loaded beyond it stays. */
  async load() {
    const page = await api.conversations(null, PAGE);
    const oldest = page.conversations.at(-1)?.updated_at;
    const fresh = new Set(page.conversations.map((view) => view.id));
    for (const view of [...this.#items.values()]) {
      if (!fresh.has(view.id) && (page.next === null || view.updated_at >= oldest)) this.#items.delete(view.id);
    }
    for (const view of page.conversations) this.#keep(view);
    if (!this.loaded || page.next === null) this.#next = page.next;
    this.loaded = true;
    this.emit("change");
  }

  /** Fetch the next page; calls meanwhile share it. */
  more() {
    if (this.#next === null) return Promise.resolve();
    this.#fetching ??= this.#more().finally(() => (this.#fetching = null));
    return this.#fetching;
  }

  async #more() {
    const page = await api.conversations(this.#next, PAGE);
    for (const view of page.conversations) this.#keep(view);
    this.#next = page.next;
    this.emit("change");
  }

  async rename(id, title) {
    const { conversation } = await api.changeConversation(id, { title });
    this.#keep(conversation);
    this.emit("change");
  }

  async remove(id) {
    await api.deleteConversation(id);
    this.#forget(id);
  }

  async restore(id) {
    const { conversation } = await api.restoreConversation(id);
    this.#deleted.delete(id);
    this.#items.set(id, conversation);
    this.emit("change");
  }

  #receive({ conversation, deleted_id: deletedId }) {
    if (deletedId) this.#forget(deletedId);
    if (!conversation) return;
    this.#deleted.delete(conversation.id);
    this.#keep(conversation);
    this.emit("change");
  }

  #keep(view) {
    if (this.#deleted.has(view.id)) return;
    const known = this.#items.get(view.id);
    if (!known || isNewer(view, known)) this.#items.set(view.id, view);
  }

  #forget(id) {
    this.#deleted.add(id);
    if (this.#items.delete(id)) this.emit("change");
  }
}
