/**
 * How a reply ended, when that was not its own full stop, and the ways to go on.
 *
 * Draws a message of `Transcript`; decides nothing. Clicks are told by `data-act`.
 */
import { el } from "./dom.js";
import { integer } from "./format.js";
import { icon } from "./icons.js";
import { StarterCard } from "./starter.js";
import { t } from "./strings.js";

const ACT_WORDS = {
  model: "chat.choose_model",
  drop_oldest: "overflow.drop_oldest",
  cut_middle: "overflow.cut_middle",
  shift: "overflow.shift",
  model_longer: "overflow.longer",
  new: "overflow.new",
};
const CONTINUABLE = new Set(["stopped", "interrupted", "error"]);
const ROOM_SHARE = 1 / 16; // of the context; with less of it free nothing is gained by going on

export class Ending {
  #drawn = "";
  #starter = null;

  /** `transcript` is that of the message, `models` what the page knows of them; tests have neither. */
  constructor({ transcript = null, models = null } = {}) {
    this.transcript = transcript;
    this.models = models;
    this.node = el("div", { class: "ending", hidden: true });
  }

  /** Bring it up to date; returns whether the reply can be written on. */
  draw(message) {
    this.message = message;
    const { running, status, error, finish_reason: reason, text, reasoning, toolCalls, left_out: leftOut } = message;
    const isFull = reason === "context";
    const acts = running ? [] : isFull ? this.#waysOn() : [];
    const isCut = CONTINUABLE.has(status) || reason === "length" || reason === "quota" || acts.includes("continue");
    const canContinue = !running && isCut && Boolean(text || reasoning);
    const shifted = running ? 0 : (leftOut?.tokens ?? 0);
    const isEmpty = !text && !reasoning && !toolCalls.length;
    const wantsStarter = this.#wantsStarter();
    const hasModel = Boolean(this.models?.isReady);
    const key = JSON.stringify([running, status, error, reason, isEmpty, canContinue, acts, shifted, wantsStarter, hasModel, this.#overflow]);
    if (key === this.#drawn) {
      this.#starter?.draw({ isWanted: true });
      return canContinue;
    }
    this.#drawn = key;
    this.#starter = null;
    this.node.replaceChildren();
    this.node.className = "ending";
    if (!running && (error || status === "error")) this.#drawError(error, canContinue, wantsStarter);
    else if (!running && status === "stopped") this.#note(t("chat.stopped"), canContinue);
    else if (!running && status === "interrupted") this.#note(t("chat.interrupted"), canContinue);
    else if (!running && isFull) this.#drawFull(acts);
    else if (!running && reason === "length") this.#note(t("chat.length"), canContinue);
    else if (!running && reason === "quota") this.#note(t("chat.quota"), canContinue);
    else if (!running && isEmpty) this.#note(t("chat.no_text"), false);
    if (shifted) this.node.prepend(el("span", { class: "shifted" }, t("overflow.shifted", { count: shifted, tokens: integer(shifted) })));
    this.node.hidden = !this.node.firstChild;
    return canContinue;
  }

  /** What happens to this conversation where it is too long: its own choice, else the parameter's. */
  get #overflow() {
    return this.transcript?.conversation?.context_overflow ?? this.message.params?.context_overflow ?? "stop";
  }

  /** What can be done where the context is full; a reply that filled it alone has nothing older. */
  #waysOn() {
    const policy = this.#overflow;
    if (this.#hasRoom()) return ["continue", "new"];
    if (policy === "shift") return ["model_longer", "new"];
    if (!this.#hasOlder) return ["shift", "model_longer", "new"];
    if (policy === "stop") return ["drop_oldest", "cut_middle", "model_longer", "new"];
    return ["continue", "shift", "model_longer", "new"];
  }

  /** Whether the model that is loaded now has a longer context. */
  #hasRoom() {
    const length = this.models?.status.info?.context_length;
    return Boolean(length) && tokensOf(this.message) < length * (1 - ROOM_SHARE);
  }

  #wantsStarter() {
    const { models, message } = this;
    return message.error?.code === "model_not_loaded" && Boolean(models?.loaded) && models.usable.length === 0;
  }

  #note(words, canContinue) {
    this.node.append(el("span", {}, words), button(canContinue ? "continue" : "retry"));
  }

  #drawFull(acts) {
    this.node.classList.add("full");
    const { seeds = [], left_out: leftOut } = this.message;
    const isWhole = seeds.length < 2 && !leftOut?.tokens; // else its tokens are not those in the context
    const count = tokensOf(this.message);
    const words = count && isWhole ? t("overflow.full", { count, tokens: integer(count) }) : t("overflow.full_again");
    const hint = t(acts[0] === "continue" ? "overflow.full_room" : "overflow.full_hint");
    this.node.append(el("div", { class: "ending-text" }, el("strong", {}, words), el("span", {}, hint)), choices(acts));
  }

  #drawError(error, canContinue, wantsStarter) {
    this.node.classList.add("error");
    const words = el("div", { class: "ending-text" }, el("strong", {}, error?.message ?? t("chat.failed")));
    const hint = wantsStarter ? t("model.no_files_hint") : error?.hint;
    if (hint) words.append(el("span", {}, hint));
    const again = canContinue ? "continue" : "retry";
    let acts = [again];
    if (error?.code === "model_not_loaded" && !wantsStarter && !this.models?.isReady) acts = ["model", again];
    if (error?.code === "context_length_exceeded") acts = this.#waysIn(again);
    this.node.append(icon("warning"), words, choices(acts));
    if (!wantsStarter) return;
    this.#starter = new StarterCard(this.models);
    this.#starter.draw({ isWanted: true });
    this.node.append(this.#starter.node);
  }

  /** Whether anything was said before the turn that this replies to. */
  get #hasOlder() {
    return Boolean(this.transcript?.messages.get(this.message.parent_id)?.parent_id);
  }

  /** What can be done where what is to be read does not fit; one turn alone cannot be cut. */
  #waysIn(again) {
    const cuts = this.#hasOlder ? ["drop_oldest", "cut_middle"] : [];
    if (this.#overflow === "stop") return [...cuts, "model_longer", "new"];
    const canShift = again === "continue" && this.#overflow !== "shift";
    return [...(canShift ? ["shift"] : []), "model_longer", "new", again];
  }
}

function tokensOf({ usage }) {
  return usage ? usage.prompt_tokens + usage.completion_tokens : 0;
}

function button(act) {
  return el("button", { type: "button", class: "small-button", data: { act } }, t(ACT_WORDS[act] ?? `chat.${act}`));
}

function choices(acts) {
  return el("div", { class: "choices" }, acts.map(button));
}
