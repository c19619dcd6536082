/** A tiny event source: `on` returns the function that takes the listener off again. */
export class Emitter {
  #listeners = new Map();

  on(topic, listener) {
    const set = this.#listeners.get(topic) ?? new Set();
    this.#listeners.set(topic, set.add(listener));
    return () => set.delete(listener);
  }

  emit(topic, detail) {
    for (const listener of this.#listeners.get(topic) ?? []) listener(detail);
  }
}
