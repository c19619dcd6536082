/** Short notes at the foot of the window, read out by screen readers; one may carry an action. */
import { el, setText } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./strings.js";

const SHOWN_MS = 4_000;
const SHOWN_WITH_ACTION_MS = 8_000;

let holder = null;

function place() {
  holder ??= el("div", { class: "toasts", role: "status", "aria-live": "polite" });
  const over = document.querySelector("dialog[open]") ?? document.body; // a modal lies over all else
  if (holder.parentNode !== over) over.append(holder);
  return holder;
}

/** Show `text`; `action` is {label, run}. Stays while the pointer or the focus is on it. */
export function toast(text, { action = null, kind = "info" } = {}) {
  const note = el("div", { class: `toast toast-${kind}` }, kind === "error" ? icon("warning") : null);
  note.append(el("span", { class: "toast-text" }, text));
  if (action) {
    const run = () => {
      note.remove();
      action.run();
    };
    note.append(el("button", { type: "button", class: "toast-action", on: { click: run } }, action.label));
  }
  const close = { type: "button", class: "toast-close", "aria-label": t("app.close"), on: { click: () => note.remove() } };
  note.append(el("button", close, icon("close")));
  place().append(note);
  const leave = () => (note.matches(":hover, :focus-within") ? setTimeout(leave, 1_000) : note.remove());
  setTimeout(leave, action ? SHOWN_WITH_ACTION_MS : SHOWN_MS);
}

/** Show what went wrong, with what to do about it. */
export function toastError(error) {
  console.debug(error);
  toast(error.hint ? `${error.message.replace(/\.$/, "")}. ${error.hint}` : error.message, { kind: "error" });
}

/* ---- what a screen reader hears besides */

let region = null;

/** Say `text` to screen readers without showing it. */
export function announce(text) {
  region ??= el("div", { class: "offscreen", "aria-live": "polite", role: "status" });
  if (!region.isConnected) document.body.append(region);
  setText(region, text);
}

const SENTENCE_END = /[.!?…。！？]["')\]*_]*\s|\n/g;
const MARKUP = /[*_`#>|$]+/g;

/** Reads a growing answer out sentence by sentence: whole ones only, not more than one call's worth. */
export class Reader {
  #said = 0;

  /** Begin at the end of `text`. */
  start(text) {
    this.#said = text.length;
  }

  read(text, { isEnd = false } = {}) {
    let end = isEnd ? text.length : this.#said;
    SENTENCE_END.lastIndex = this.#said;
    while (!isEnd && SENTENCE_END.exec(text)) end = SENTENCE_END.lastIndex;
    const sentence = text.slice(this.#said, end).replace(MARKUP, "").trim();
    this.#said = end;
    if (sentence) announce(sentence);
  }
}
