/**
 * One message in the thread: its text, what state it is in, and what can be done with it.
 *
 * Draws a row of `Transcript`; decides nothing. Clicks are told by `data-act`.
 */
import { el, setText } from "./dom.js";
import { AnswerFigures } from "./figures.js";
import { duration, integer, moment, percent } from "./format.js";
import { icon } from "./icons.js";
import { MarkdownView } from "./markdown.js";
import { t } from "./strings.js";

const ACT_WORDS = { model: "chat.choose_model", drop_oldest: "overflow.drop_oldest", cut_middle: "overflow.cut_middle", model_longer: "overflow.longer", new: "overflow.new" };
const CONTINUABLE = new Set(["stopped", "interrupted", "error"]);

function button(act, name, label) {
  return el("button", { type: "button", class: "act", data: { act }, "aria-label": label, title: label }, icon(name));
}

export class MessageView {
  #timer = 0;

  /** `isCut` says whether older turns of this conversation are left out where there is no room. */
  constructor(message, { isCut = () => false } = {}) {
    this.isCut = isCut;
    this.isUser = message.role === "user";
    this.body = el("div", { class: "message-body" });
    this.versions = el(
      "span",
      { class: "versions", hidden: true },
      button("previous", "left", t("chat.previous_version")),
      el("span", { class: "versions-text" }),
      button("next", "chevron", t("chat.next_version")),
    );
    this.copy = button("copy", "copy", t("chat.copy"));
    this.retry = this.isUser ? null : button("retry", "retry", t("chat.retry"));
    this.continue = this.isUser ? null : button("continue", "forward", t("chat.continue"));
    this.figures = this.isUser ? null : new AnswerFigures(message.id);
    this.made = el("span", { class: "made" });
    const edit = button("edit", "edit", t("chat.edit"));
    this.acts = el("div", { class: "acts", role: "group" }, this.versions, this.copy, edit, this.retry, this.continue, this.figures?.line, this.made);
    this.node = el("article", { class: "message", data: { id: message.id, role: message.role } }, this.body, this.acts, this.figures?.details);
    this.node.setAttribute("aria-label", this.isUser ? t("chat.you") : t("chat.assistant"));
    if (!this.isUser) this.#buildAnswer();
  }

  #buildAnswer() {
    this.thoughtLabel = el("span", { class: "thought-label" });
    this.thought = new MarkdownView();
    this.thinking = el("details", { class: "thinking", hidden: true }, el("summary", {}, this.thoughtLabel, icon("chevron")), this.thought.node);
    this.thinking.addEventListener("toggle", () => this.#drawThought());
    this.state = el("p", { class: "state", hidden: true });
    this.markdown = new MarkdownView();
    this.calls = el("div", { class: "calls" });
    this.end = el("div", { class: "ending", hidden: true });
    this.body.append(this.thinking, this.markdown.node, this.calls, this.state, this.end);
  }

  /** Bring the row up to date. `versions`: the message and its siblings. */
  update(message, versions = null) {
    this.message = message;
    this.node.classList.toggle("running", message.running);
    if (versions) this.#drawVersions(message, versions);
    this.#drawMade(message);
    if (this.isUser) {
      if (!this.editor) setText(this.body, message.text);
      return;
    }
    if (this.editor) return;
    this.#drawThinking();
    this.markdown.set(message.text, { live: message.running });
    this.#drawCalls();
    this.#drawState();
    this.#drawEnding();
    this.figures.draw(message);
  }

  #drawVersions(message, versions) {
    const at = versions.findIndex((other) => other.id === message.id);
    this.versions.hidden = versions.length < 2;
    setText(this.versions.children[1], t("chat.version", { n: at + 1, count: versions.length }));
    this.versions.firstChild.disabled = at === 0;
    this.versions.lastChild.disabled = at === versions.length - 1;
  }

  #drawThinking() {
    const { reasoning, running, text, thoughtSeconds, thinkingSince } = this.message;
    this.thinking.hidden = !reasoning;
    if (!reasoning) return;
    const isThinking = running && !text;
    this.thinking.classList.toggle("live", isThinking);
    if (isThinking && thinkingSince) {
      const seconds = Math.floor((performance.now() - thinkingSince) / 1000);
      setText(this.thoughtLabel, seconds ? t("chat.thinking_for", { time: duration(seconds, { whole: true }) }) : t("chat.thinking"));
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#drawThinking(), 1_000);
    } else {
      const known = thoughtSeconds !== null && !isThinking;
      setText(this.thoughtLabel, known ? t("chat.thought_for", { time: duration(thoughtSeconds) }) : t(isThinking ? "chat.thinking" : "chat.thoughts"));
    }
    this.#drawThought();
  }

  #drawThought() {
    if (!this.thinking.open) return;
    this.thought.set(this.message.reasoning, { live: this.message.running && !this.message.text });
  }

  /** The functions that the model called; calls are only ever added. */
  #drawCalls() {
    for (const call of this.message.toolCalls.slice(this.calls.childElementCount)) {
      const line = el("summary", {}, t("chat.tool_call", { name: call.name }), icon("chevron"));
      this.calls.append(el("details", { class: "tool-call" }, line, el("pre", {}, call.arguments)));
    }
  }

  /** What a running reply is doing, as long as there is no text to see. */
  #drawState() {
    const { running, text, reasoning } = this.message;
    const isWaiting = running && !(this.message.phase?.type === "text" && text) && !(reasoning && !text && this.message.phase?.type === "reasoning");
    const isShown = isWaiting && !(text && !this.message.phase);
    this.state.hidden = !isShown;
    if (!isShown) return;
    const [words, fraction] = describe(this.message.phase);
    if (!this.state.firstChild) this.state.append(el("span", { class: "dots", "aria-hidden": "true" }, el("i"), el("i"), el("i")), el("span", {}), el("progress", { max: "1" }));
    setText(this.state.children[1], words);
    const bar = this.state.children[2];
    bar.hidden = fraction === null;
    if (fraction !== null) bar.value = fraction;
    bar.setAttribute("aria-label", words);
  }

  /** How it ended, when that was not its own full stop, and what to do next. */
  #drawEnding() {
    const { status, running, error, finish_reason: reason, text, reasoning, toolCalls } = this.message;
    const canContinue = !running && (CONTINUABLE.has(status) || reason === "length" || reason === "quota") && Boolean(text || reasoning);
    this.continue.hidden = !canContinue;
    this.end.replaceChildren();
    this.end.className = "ending";
    if (!running && (error || status === "error")) this.#drawError(error, canContinue);
    else if (!running && status === "stopped") this.#note(t("chat.stopped"), canContinue);
    else if (!running && status === "interrupted") this.#note(t("chat.interrupted"), canContinue);
    else if (!running && reason === "length") this.#note(t("chat.length"), canContinue);
    else if (!running && reason === "quota") this.#note(t("chat.quota"), canContinue);
    else if (!running && !text && !reasoning && !toolCalls.length) this.#note(t("chat.no_text"), false);
    const { left_out: leftOut } = this.message;
    if (!running && leftOut?.tokens) this.end.prepend(el("span", { class: "shifted" }, t("overflow.shifted", { count: leftOut.tokens, tokens: integer(leftOut.tokens) })));
    this.end.hidden = !this.end.firstChild;
  }

  #note(words, canContinue) {
    this.end.append(el("span", {}, words));
    const act = canContinue ? ["continue", t("chat.continue")] : ["retry", t("chat.retry")];
    this.end.append(el("button", { type: "button", class: "small-button", data: { act: act[0] } }, act[1]));
  }

  #drawError(error, canContinue) {
    this.end.classList.add("error");
    const words = el("div", { class: "ending-text" }, el("strong", {}, error?.message ?? t("chat.failed")));
    if (error?.hint) words.append(el("span", {}, error.hint));
    const act = canContinue ? "continue" : "retry";
    let acts = [act];
    if (error?.code === "model_not_loaded") acts = ["model", act];
    if (error?.code === "context_length_exceeded") acts = this.isCut() ? ["model_longer", "new", act] : ["drop_oldest", "cut_middle", "model_longer", "new"];
    const buttons = acts.map((name) => el("button", { type: "button", class: "small-button", data: { act: name } }, t(ACT_WORDS[name] ?? `chat.${name}`)));
    this.end.append(icon("warning"), words, el("div", { class: "choices" }, buttons));
  }

  #drawMade({ created_at: time, model, running }) {
    setText(this.made, running ? "" : [model, moment(time)].filter(Boolean).join(" · "));
  }

  /** Put an editor in place of the text; `save` gets the new text. */
  edit({ verb, save }) {
    if (this.editor) return;
    const area = el("textarea", { "aria-label": t("chat.edit"), rows: "1" });
    area.value = this.message.text;
    const grow = () => {
      area.style.height = "auto";
      area.style.height = `${area.scrollHeight}px`;
    };
    const kept = [...this.body.childNodes];
    const close = () => {
      this.editor = null;
      this.node.classList.remove("editing");
      this.body.replaceChildren(...kept);
      this.update(this.message);
      this.node.querySelector("[data-act=edit]").focus();
    };
    const submit = async () => {
      const text = area.value.trim();
      if (!text || (text === this.message.text.trim() && !this.isUser)) return close();
      return (await save(text)) && close();
    };
    const onKey = (event) => {
      if (event.isComposing) return;
      if (event.key === "Escape") close();
      else if (event.key === "Enter" && !event.shiftKey && (this.isUser || event.ctrlKey || event.metaKey)) submit();
      else return;
      event.preventDefault();
      event.stopPropagation();
    };
    const row = el(
      "div",
      { class: "editor-bar" },
      el("button", { type: "button", class: "small-button", on: { click: close } }, t("chat.cancel")),
      el("button", { type: "button", class: "small-button primary", on: { click: submit } }, verb),
    );
    this.editor = el("div", { class: "editor" }, area, row);
    this.node.classList.add("editing");
    this.body.replaceChildren(this.editor);
    area.addEventListener("input", grow);
    area.addEventListener("keydown", onKey);
    grow();
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }
}

/** Words and, where there is one, the fraction done of a phase. */
function describe(phase) {
  if (phase?.type === "queued") {
    const eta = phase.eta_s === null ? null : duration(Math.max(1, phase.eta_s), { whole: true });
    return [eta ? t("chat.queued_eta", { place: phase.place, time: eta }) : t("chat.queued", { place: phase.place }), null];
  }
  if (phase?.type === "loading") return [t("chat.loading", { percent: percent(phase.fraction) }), phase.fraction];
  if (phase?.type === "prefill" && phase.total > 0 && phase.done < phase.total) {
    const fraction = phase.done / phase.total;
    return [t("chat.prefill", { percent: percent(fraction) }), fraction];
  }
  return [t("chat.working"), null];
}
