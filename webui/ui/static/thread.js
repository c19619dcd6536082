/**
 * The thread: the messages of the open branch, painted as they grow.
 *
 * Rows are kept by message. A long conversation shows its newest rows at once and fills in the
 * older ones while the browser is idle. A running reply is painted at most every 33 ms.
 */
import { copyText, el, reconcile, setText } from "./dom.js";
import { icon } from "./icons.js";
import { MessageView } from "./message.js";
import { Scroller } from "./scroller.js";
import { t } from "./strings.js";
import { announce, Reader, toast, toastError } from "./toast.js";

const CUTS = new Set(["drop_oldest", "cut_middle", "shift"]);
const TURNS = new Set(["retry", "continue", ...CUTS]);
const PAINT_EVERY_MS = 33;
const SHOWN_AT_ONCE = 30;
const FILLED_IN_A_GO = 20;

export class Thread {
  #rows = new Map();
  #older = [];
  #dirty = new Set();
  #painted = 0;
  #frame = 0;
  #idle = 0;
  #isFresh = true;
  #reader = new Reader();
  #isAsking = false; // a turn is on its way to the server

  #gap = null; // says what stands above it and is not sent

  /** `toModel` leads to the Model tab, `toNew` to a new conversation with a text in its composer. */
  constructor(transcript, models, { toModel, toNew }) {
    this.transcript = transcript;
    this.models = models;
    this.toModel = toModel;
    this.toNew = toNew;
    this.list = el("div", { class: "thread", role: "log", "aria-label": t("chat.conversation"), "aria-live": "off" });
    this.box = el("div", { class: "scroll", tabindex: "-1" }, this.list);
    const jump = { type: "button", class: "jump", hidden: true, "aria-label": t("chat.jump"), title: t("chat.jump") };
    this.jump = el("button", { ...jump, on: { click: () => this.scroller.toEnd({ smooth: true }) } }, icon("arrow_down"));
    this.scroller = new Scroller(this.box, this.list, (atEnd) => (this.jump.hidden = atEnd));
    this.list.addEventListener("click", (event) => this.#onClick(event));
    this.#listen();
  }

  #listen() {
    this.transcript.on("open", () => this.#clear());
    this.transcript.on("structure", () => this.render());
    this.transcript.on("message", (id) => this.#schedule(id));
    this.transcript.on("turn", (turn) => this.#onTurn(turn));
    this.transcript.on("ended", (id) => this.#onEnded(id));
    this.models.on("change", () => this.#rows.forEach((row) => row.drawEnding()));
  }

  /** Where the reader stands, so that a page that loads itself anew can go back there. */
  get place() {
    return this.scroller.isAtEnd ? null : this.box.scrollTop;
  }

  /** Scroll to a place from before, once the conversation is there. */
  restore(place) {
    const off = this.transcript.on("structure", () => {
      off();
      this.#fillAll();
      requestAnimationFrame(() => (this.box.scrollTop = place));
    });
  }

  #clear() {
    (window.cancelIdleCallback ?? clearTimeout)(this.#idle);
    this.#rows.clear();
    this.#older = [];
    this.#dirty.clear();
    this.#isFresh = true;
    this.scroller.release();
    this.list.replaceChildren();
  }

  /** Show the open branch. */
  render() {
    const path = this.transcript.path();
    const hidden = this.#isFresh ? Math.max(0, path.length - SHOWN_AT_ONCE) : path.length - this.#visibleOf(path).length;
    this.#older = path.slice(0, hidden);
    reconcile(this.list, this.#nodes(path.slice(hidden)));
    if (this.#isFresh) this.scroller.toEnd();
    const last = path.at(-1);
    if (this.#isFresh && last) this.#reader.start(last.text);
    this.#isFresh = false;
    this.#fillLater();
  }

  #visibleOf(path) {
    const waiting = new Set(this.#older.map((message) => message.id));
    const first = path.findIndex((message) => !waiting.has(message.id));
    return first < 0 ? [] : path.slice(first);
  }

  /** The rows of some messages, and above the first one that is sent what is not. */
  #nodes(messages) {
    const leftOut = this.transcript.leftOut;
    return messages.flatMap((message) => {
      const row = this.#row(message);
      return message.id === leftOut?.before_id ? [this.#drawGap(leftOut.messages), row] : [row];
    });
  }

  #drawGap(count) {
    const keepAll = el("button", { type: "button", class: "small-button", data: { act: "stop" } }, t("overflow.keep_all"));
    this.#gap ??= el("div", { class: "gap", role: "separator" }, el("span"), keepAll);
    setText(this.#gap.firstChild, t("overflow.left_out", { count }));
    keepAll.title = t("overflow.keep_all_title");
    return this.#gap;
  }

  #row(message) {
    let view = this.#rows.get(message.id);
    if (!view) {
      view = new MessageView(message, this);
      this.#rows.set(message.id, view);
    }
    view.update(message, this.transcript.versions(message));
    return view.node;
  }

  #fillLater() {
    if (this.#older.length === 0) return;
    const later = window.requestIdleCallback ?? ((run) => setTimeout(run, 16));
    this.#idle = later(() => this.#fill(FILLED_IN_A_GO));
  }

  #fill(count) {
    const next = this.#older.splice(-count);
    const before = this.list.scrollHeight;
    this.list.prepend(...this.#nodes(next.map((message) => this.transcript.messages.get(message.id) ?? message)));
    if (this.scroller.isAtEnd) this.scroller.toEnd();
    else if (this.box.scrollTop === 0) this.box.scrollTop = this.list.scrollHeight - before;
    this.#fillLater();
  }

  #fillAll() {
    if (this.#older.length) this.#fill(this.#older.length);
  }

  #schedule(id) {
    this.#dirty.add(id);
    this.#frame ||= requestAnimationFrame((now) => this.#paint(now));
  }

  #paint(now) {
    this.#frame = 0;
    if (now - this.#painted < PAINT_EVERY_MS - 4) {
      this.#frame = requestAnimationFrame((then) => this.#paint(then));
      return;
    }
    this.#painted = now;
    const ids = [...this.#dirty];
    this.#dirty.clear();
    for (const id of ids) {
      const message = this.transcript.messages.get(id);
      this.#rows.get(id)?.update(message);
      if (message?.running && message.text) this.#reader.read(message.text);
    }
    if (this.scroller.isAtEnd) this.scroller.toEnd();
  }

  #onTurn(turn) {
    const path = this.transcript.path();
    const reply = path.at(-1);
    const question = path.at(-2);
    if (!turn.generation || reply?.role !== "assistant") return;
    this.#reader.start(reply.text);
    const asked = this.#rows.get(question?.id);
    if (asked && !reply.text) this.scroller.anchor(asked.node);
    else this.scroller.toEnd({ smooth: true });
  }

  #onEnded(id) {
    const message = this.transcript.messages.get(id);
    this.#reader.read(message.text, { isEnd: true });
    if (message.status === "stopped") announce(t("chat.stopped"));
    else if (message.error) {
      announce(message.error.message);
      this.scroller.toEnd({ smooth: true }); // a long question stands above it
    }
  }

  /* ---- what can be done with a message */

  /** Edit the newest message of the reader; returns whether there is one. */
  editLast() {
    const last = this.transcript.path().findLast((message) => message.role === "user");
    if (last) this.#edit(last);
    return Boolean(last);
  }

  retryLast() {
    const last = this.transcript.path().at(-1);
    if (last?.role === "assistant") this.#run("retry", last);
  }

  async copyLast({ code = false } = {}) {
    const last = this.transcript.path().findLast((message) => message.role === "assistant");
    const blocks = last?.text.match(/^```[^\n]*\n[^]*?\n```/gm) ?? [];
    const text = code ? blocks.at(-1)?.replace(/^```[^\n]*\n|\n```$/g, "") : last?.text;
    if (!text) return;
    await copyText(text);
    toast(t("chat.copied"));
  }

  /** Show the version `step` beside the newest message that has several. */
  switchVersion(step) {
    const message = this.transcript.path().findLast((one) => this.transcript.versions(one).length > 1);
    if (message) this.#switch(message, step);
  }

  #onClick(event) {
    const act = event.target.closest("[data-act]");
    const message = this.transcript.messages.get(act?.closest(".message")?.dataset.id);
    if (message) this.#run(act.dataset.act, message, act);
    else if (act && this.#gap?.contains(act)) this.#keepAll();
  }

  async #keepAll() {
    try {
      await this.transcript.chooseOverflow("stop");
      toast(t("overflow.kept_all"));
    } catch (error) {
      toastError(error);
    }
  }

  async #run(name, message, node = null) {
    try {
      if (name === "copy") await this.#copy(message, node);
      else if (name === "edit") this.#edit(message);
      else if (name === "previous") this.#switch(message, -1);
      else if (name === "next") this.#switch(message, +1);
      else if (name === "model" || name === "model_longer") this.toModel();
      else if (name === "new") this.toNew(this.transcript.messages.get(message.parent_id)?.text ?? "");
      else if (TURNS.has(name)) await this.#ask(name, message);
    } catch (error) {
      toastError(error);
    }
  }

  /** Ask for a reply, once: a second click wants nothing else. */
  async #ask(name, message) {
    if (this.#isAsking) return;
    if (this.transcript.busy) {
      toast(t("chat.busy"));
      return;
    }
    this.#isAsking = true;
    try {
      if (name === "retry") await this.transcript.retry(message.id);
      else if (name === "continue") await this.transcript.continueReply(message.id);
      else await this.#cut(name, message);
    } finally {
      this.#isAsking = false;
    }
  }

  /** Let older turns be left out of this conversation from now on, and ask again. */
  async #cut(policy, message) {
    await this.transcript.chooseOverflow(policy);
    if (message.text || message.reasoning) await this.transcript.continueReply(message.id);
    else await this.transcript.retry(message.id);
  }

  async #copy(message, node) {
    await copyText(message.text);
    if (!node) return;
    node.replaceChildren(icon("check"));
    announce(t("chat.copied"));
    setTimeout(() => node.replaceChildren(icon("copy")), 1_500);
  }

  #switch(message, step) {
    const versions = this.transcript.versions(message);
    const other = versions[versions.findIndex((one) => one.id === message.id) + step];
    if (!other) return;
    if (this.transcript.busy) toast(t("chat.busy"));
    else this.transcript.choose(other).catch(toastError);
  }

  #edit(message) {
    if (this.transcript.busy) {
      toast(t("chat.busy"));
      return;
    }
    const isUser = message.role === "user";
    const save = async (text) => {
      try {
        await (isUser ? this.transcript.send(text, message.parent_id) : this.transcript.edit(message.id, text));
        return true;
      } catch (error) {
        toastError(error);
        return false;
      }
    };
    this.#rows.get(message.id)?.edit({ verb: isUser ? t("chat.send") : t("chat.save"), save });
  }
}
