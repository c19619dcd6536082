/**
 * The one stream of events of this tab.
 *
 * Every event has a number; `after` says where to go on, so a broken connection loses nothing.
 * Reconnecting is ours, not EventSource's: its own would ask again from where the page began.
 */
import { Emitter } from "./emitter.js";

const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 10_000;
const SHOW_AFTER_MS = 1_200;

/** Split a cursor "boot:n"; n is -1 when there is none. */
export function parseCursor(cursor) {
  const cut = (cursor ?? "").lastIndexOf(":");
  return cut < 0 ? { boot: "", n: -1 } : { boot: cursor.slice(0, cut), n: Number(cursor.slice(cut + 1)) };
}

/** Emits "event" {n, event}, "reset", and "connection" (true when it stands, false when it is lost). */
export class EventStream extends Emitter {
  boot = "";
  start = -1; // the number after which this subscription has every event
  #position = null; // cursor of the last event seen
  #source = null;
  #attempt = 0;
  #timer = 0;
  #notice = 0;

  constructor(urlOf) {
    super();
    this.urlOf = urlOf;
    window.addEventListener("online", () => this.#source?.readyState !== EventSource.OPEN && this.#retryNow());
    window.addEventListener("pagehide", () => this.#close());
    window.addEventListener("pageshow", (event) => event.persisted && this.#connect());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.#timer) this.#retryNow();
    });
  }

  open() {
    this.#connect();
  }

  /**
   * Make sure that every event after `cursor` arrives: go back to it when the stream began later.
   * Returns whether it did; events that came before the call will then come again.
   */
  cover(cursor) {
    const wanted = parseCursor(cursor);
    if (this.#source?.readyState === EventSource.OPEN && this.start >= 0) {
      if (wanted.boot === this.boot && wanted.n >= this.start) return false;
    } else if (this.#position !== null && parseCursor(this.#position).boot === wanted.boot) {
      return false; // it goes on from there by itself
    }
    const missed = this.#position !== null && parseCursor(this.#position).boot !== wanted.boot;
    this.#position = cursor;
    this.#connect();
    if (missed) queueMicrotask(() => this.emit("reset")); // the server was started anew meanwhile
    return true;
  }

  #connect() {
    this.#close();
    const source = new EventSource(this.urlOf(this.#position));
    this.#source = source;
    this.start = -1;
    source.onmessage = (message) => source === this.#source && this.#receive(message);
    source.onerror = () => source === this.#source && this.#lost();
  }

  #receive(message) {
    const event = JSON.parse(message.data);
    if (event.type === "hello") {
      const { boot, n } = parseCursor(event.cursor);
      this.boot = boot;
      this.start = n;
      this.#position = event.cursor;
      this.#standing();
      return;
    }
    if (message.lastEventId) this.#position = message.lastEventId;
    if (event.type === "reset") this.emit("reset");
    else this.emit("event", { n: parseCursor(message.lastEventId).n, event });
  }

  #standing() {
    this.#attempt = 0;
    clearTimeout(this.#notice);
    this.#notice = 0;
    this.emit("connection", true);
  }

  #lost() {
    this.#close();
    const wait = Math.min(FIRST_WAIT_MS * 2 ** this.#attempt, LONGEST_WAIT_MS);
    this.#attempt += 1;
    this.#timer = setTimeout(() => this.#connect(), wait * (0.75 + Math.random() / 2));
    this.#notice ||= setTimeout(() => this.emit("connection", false), SHOW_AFTER_MS);
  }

  #retryNow() {
    this.#attempt = 0;
    this.#connect();
  }

  #close() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#source?.close();
    this.#source = null;
  }
}
