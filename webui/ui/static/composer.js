/**
 * Where the reader writes: grows with the text, keeps a draft for each conversation, sends on
 * Enter (never while an input method composes), and stops a running reply with the same button.
 */
import { el, phone } from "./dom.js";
import { icon, stopIcon } from "./icons.js";
import { t } from "./strings.js";
import { toast, toastError } from "./toast.js";

const DRAFT = "draft:";
const SAVE_AFTER_MS = 250;

export class Composer {
  #key = null;
  #saving = 0;
  #sending = false;
  #outgoing = null; // {key, text} of the message that is being sent
  #stopping = false;

  /** `thread` edits the last message; `pill` is shown at the left of the bar. */
  constructor(transcript, { thread, pill }) {
    this.transcript = transcript;
    this.thread = thread;
    this.area = el("textarea", { rows: "1", "aria-label": t("chat.message"), autocomplete: "off" });
    this.button = el("button", { type: "submit", class: "send" });
    const bar = el("div", { class: "composer-bar" }, pill, el("span", { class: "space" }), this.button);
    this.node = el("form", { class: "composer" }, this.area, bar);
    this.setModel(null);
    this.node.addEventListener("submit", (event) => {
      event.preventDefault();
      this.transcript.busy ? this.stop() : this.send();
    });
    this.node.addEventListener("pointerdown", (event) => {
      if (event.target === this.node || event.target === bar) {
        event.preventDefault();
        this.area.focus();
      }
    });
    this.area.addEventListener("input", () => this.#onInput());
    this.area.addEventListener("keydown", (event) => this.#onKey(event));
    window.addEventListener("pagehide", () => this.#save());
    for (const topic of ["structure", "turn", "message", "ended"]) transcript.on(topic, () => this.#draw());
    this.#draw();
  }

  setModel(name) {
    this.area.placeholder = name ? t("chat.placeholder_model", { model: name }) : t("chat.placeholder");
  }

  get isComposing() {
    return this.composing || this.#sending;
  }

  focus() {
    if (!phone.matches) this.area.focus({ preventScroll: true });
  }

  /** Put `text` in and let the reader go on from there. */
  fill(text) {
    this.area.value = text;
    this.#onInput();
    this.area.focus();
  }

  /** Take the draft of the conversation that is now open. */
  loadDraft() {
    this.#save();
    this.#key = DRAFT + (this.transcript.id ?? "new");
    this.area.value = localStorage.getItem(this.#key) ?? "";
    this.#grow();
    this.#draw();
  }

  /** The conversation has got its id: what is written from now on belongs to it. */
  keepDraft() {
    localStorage.removeItem(DRAFT + "new");
    this.#key = DRAFT + this.transcript.id;
    this.#save();
  }

  #save() {
    clearTimeout(this.#saving);
    if (this.#key === null) return;
    const isOnItsWay = this.#outgoing?.key === this.#key;
    store(this.#key, joined(isOnItsWay ? this.#outgoing.text : "", this.area.value));
  }

  #onInput() {
    this.#grow();
    this.#draw();
    clearTimeout(this.#saving);
    this.#saving = setTimeout(() => this.#save(), SAVE_AFTER_MS);
  }

  #grow() {
    this.area.style.height = "auto";
    if (this.area.value) this.area.style.height = `${this.area.scrollHeight}px`;
  }

  #onKey(event) {
    if (event.isComposing || event.keyCode === 229) return;
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey;
    const isMeant = event.ctrlKey || event.metaKey || !(phone.matches || this.#isInCode());
    if (event.key === "Enter" && !event.shiftKey && !event.altKey && isMeant) {
      event.preventDefault();
      if (!this.transcript.busy) this.send();
      else if (this.area.value.trim()) toast(t("chat.busy"));
    } else if (event.key === "ArrowUp" && isPlain && !this.area.value) {
      if (this.thread.editLast()) event.preventDefault();
    }
  }

  /** Whether the caret stands in a block of code that is not closed yet: Enter then breaks the line. */
  #isInCode() {
    const before = this.area.value.slice(0, this.area.selectionStart);
    return (before.match(/^ {0,3}```/gm) ?? []).length % 2 === 1;
  }

  async send() {
    const text = this.area.value.trim();
    if (!text || this.#sending) return;
    const outgoing = { key: this.#key, text };
    this.#sending = true;
    this.#outgoing = outgoing; // stays in the draft until the server has it
    this.area.value = "";
    this.#save();
    this.#grow();
    this.#draw();
    try {
      await this.transcript.send(text);
      this.#outgoing = null;
      if (this.#key === outgoing.key) this.#save();
      else forget(outgoing);
    } catch (error) {
      this.#outgoing = null;
      if (this.#key === outgoing.key) this.area.value = joined(text, this.area.value);
      this.#save();
      this.#grow();
      toastError(error);
    } finally {
      this.#sending = false;
      this.#draw();
    }
  }

  async stop() {
    if (!this.transcript.busy || this.#stopping) return;
    this.#stopping = true;
    this.#draw();
    try {
      await this.transcript.stop();
    } catch (error) {
      this.#stopping = false;
      toastError(error);
    }
    this.#draw();
  }

  #draw() {
    const { busy } = this.transcript;
    if (!busy) this.#stopping = false;
    const mode = busy ? "stop" : "send";
    if (this.button.dataset.mode !== mode) {
      this.button.dataset.mode = mode;
      this.button.replaceChildren(busy ? stopIcon() : icon("arrow_up"));
      this.button.setAttribute("aria-label", busy ? t("chat.stop") : t("chat.send"));
      this.button.title = busy ? t("chat.stop_key") : t("chat.send_key");
    }
    this.button.disabled = busy ? this.#stopping : this.#sending || !this.area.value.trim();
  }
}

function joined(first, second) {
  return [first, second].filter(Boolean).join("\n\n");
}

function store(key, text) {
  try {
    if (text) localStorage.setItem(key, text);
    else localStorage.removeItem(key);
  } catch (error) {
    console.debug(error); // the store is full or switched off: the draft lives as long as the page
  }
}

/** Take a message that was sent out of the draft of a conversation that was left meanwhile. */
function forget({ key, text }) {
  const draft = localStorage.getItem(key) ?? "";
  if (draft.startsWith(text)) store(key, draft.slice(text.length).trimStart());
}
