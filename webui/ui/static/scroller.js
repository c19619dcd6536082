/**
 * Where the reader is in the thread.
 *
 * Stays at the end only if the reader was there; moving up lets go, coming back holds on again.
 * A message that was just sent moves to the top, and room for its answer is kept below it.
 */
import { scrollBehavior } from "./dom.js";

const NEAR_END_PX = 24;
const TOP_GAP_PX = 20;
const GLIDE_MS = 450;

export class Scroller {
  isAtEnd = true;
  #lastTop = 0;
  #anchor = null;
  #glidingUntil = 0;

  /** `box` scrolls, `thread` grows in it; `changed` hears of `isAtEnd`. */
  constructor(box, thread, changed) {
    this.box = box;
    this.thread = thread;
    this.changed = changed;
    box.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    const sizes = new ResizeObserver(() => this.#onResize());
    sizes.observe(thread);
    sizes.observe(box);
  }

  /** Go to the end and stay there. */
  toEnd({ smooth = false } = {}) {
    const behavior = smooth ? scrollBehavior() : "instant";
    this.#set(true);
    if (behavior === "smooth") this.#glide();
    this.box.scrollTo({ top: this.box.scrollHeight, behavior });
    if (behavior === "instant") this.#lastTop = this.box.scrollTop;
  }

  /** Leave out the most of a long way, and make up at its end for what grew meanwhile. */
  #glide() {
    const nearby = this.box.scrollHeight - 2 * this.box.clientHeight;
    if (this.box.scrollTop < nearby) this.box.scrollTop = nearby;
    this.#glidingUntil = performance.now() + GLIDE_MS;
    setTimeout(() => this.isAtEnd && this.toEnd(), GLIDE_MS);
  }

  /** Bring the question `node` to the top and keep room for the answer below it. */
  anchor(node) {
    this.#anchor = node;
    this.#makeRoom();
    this.toEnd({ smooth: true });
  }

  /** Give up the room kept for an answer. */
  release() {
    this.#anchor = null;
    this.thread.style.minHeight = "";
  }

  #makeRoom() {
    if (!this.#anchor?.isConnected) return this.release();
    const above = this.#anchor.offsetTop - this.thread.offsetTop;
    const room = Math.max(above - TOP_GAP_PX, 0) + this.box.clientHeight;
    const tooTall = Math.max(0, this.#anchor.offsetHeight - this.box.clientHeight / 2); // shows its end
    this.thread.style.minHeight = `${room + tooTall}px`;
  }

  #onResize() {
    if (this.#anchor) this.#makeRoom();
    if (performance.now() < this.#glidingUntil) return;
    if (this.isAtEnd) this.toEnd();
    else this.#set(this.#distance() <= NEAR_END_PX);
  }

  #onScroll() {
    const top = this.box.scrollTop;
    const movedUp = top < this.#lastTop - 1;
    this.#lastTop = top;
    if (this.#distance() <= NEAR_END_PX) this.#set(true);
    else if (movedUp) this.#set(false);
  }

  #distance() {
    return this.box.scrollHeight - this.box.clientHeight - this.box.scrollTop;
  }

  #set(value) {
    if (value === this.isAtEnd) return;
    this.isAtEnd = value;
    this.changed(value);
  }
}
