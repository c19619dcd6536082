/**
 * The figures of an answer: one line, which unfolds to all that is known of how it was made.
 *
 * Draws a message of `Transcript`; decides nothing. A phone has no tooltip: all that the line's
 * says stands below the answer as well.
 */
import { el, setText } from "./dom.js";
import { decimal, duration, integer, moment } from "./format.js";
import { icon } from "./icons.js";
import { t } from "./strings.js";

const LONG = 30; // characters that need a line of their own
const REASONS = new Set(["stop", "length", "context", "abort", "quota"]);

export class AnswerFigures {
  constructor(messageId) {
    this.details = el("dl", { class: "figures", id: `figures-${messageId}`, hidden: true });
    this.text = el("span");
    const props = { type: "button", class: "stats", "aria-expanded": "false", "aria-controls": this.details.id, hidden: true };
    this.line = el("button", { ...props, on: { click: () => this.#fold(!this.details.hidden) } }, this.text, icon("chevron"));
  }

  /** Bring both up to date. */
  draw(message) {
    const text = message.running ? "" : lineOf(message);
    this.line.hidden = !text;
    setText(this.text, text);
    this.line.title = text ? tooltipOf(message) : "";
    if (!text) this.#fold(true);
    const rows = text ? rowsOf(message) : [];
    const key = JSON.stringify(rows);
    if (this.drawn === key) return;
    this.drawn = key;
    this.details.replaceChildren(...rows.map(([name, value]) => el("div", { class: value.length > LONG ? "whole" : null }, el("dt", {}, name), el("dd", {}, value))));
  }

  #fold(isFolded) {
    this.details.hidden = isFolded;
    this.line.setAttribute("aria-expanded", String(!isFolded));
  }
}

function rateOf({ usage, timings }) {
  const isKnown = timings?.decode_s > 0 && usage.completion_tokens > 1;
  return isKnown ? t("chat.rate", { rate: decimal(usage.completion_tokens / timings.decode_s) }) : null;
}

function firstTokenOf({ timings }) {
  return timings ? duration(timings.queued_s + timings.prefill_s) : null;
}

function lineOf(message) {
  const num = message.usage?.completion_tokens;
  if (!num) return "";
  const first = firstTokenOf(message);
  const parts = [t("chat.tokens", { count: num, tokens: integer(num) }), rateOf(message), first && t("chat.first_token", { time: first })];
  return parts.filter(Boolean).join(" · ");
}

function tooltipOf({ usage }) {
  const parts = [];
  if (usage.cached_tokens) parts.push(t("chat.cached", { cached: integer(usage.cached_tokens), prompt: integer(usage.prompt_tokens) }));
  if (usage.drafted_tokens) parts.push(t("chat.guessed", { accepted: integer(usage.accepted_tokens), drafted: integer(usage.drafted_tokens) }));
  return parts.join("\n");
}

/** The seed of each part that was written in one go. */
function seedOf({ seeds }) {
  return (seeds ?? []).map((seed) => (seed < 0 ? t("figures.no_seed") : String(seed))).join(", ");
}

/** The parameters that were not the defaults, as the API writes them. */
function paramsOf({ params }) {
  if (!params) return null;
  const parts = Object.entries(params).map(([name, value]) => `${name} ${typeof value === "string" ? value : JSON.stringify(value)}`);
  return parts.join(" · ") || t("figures.defaults");
}

/** Name and value of each figure that is known. */
function rowsOf(message) {
  const { usage, timings, finish_reason: reason, model, created_at: time } = message;
  const guessed = usage.drafted_tokens ? t("chat.of", { part: integer(usage.accepted_tokens), all: integer(usage.drafted_tokens) }) : null;
  const rows = [
    ["written", integer(usage.completion_tokens)],
    ["rate", rateOf(message)],
    ["first", firstTokenOf(message)],
    ["waited", timings && duration(timings.queued_s)],
    ["prompt", integer(usage.prompt_tokens)],
    ["reused", t("chat.of", { part: integer(usage.cached_tokens), all: integer(usage.prompt_tokens) })],
    ["writing", timings && duration(timings.decode_s)],
    ["guesses", guessed],
    ["reason", REASONS.has(reason) ? t(`figures.reason_${reason}`) : reason],
    ["model", model],
    ["seed", seedOf(message)],
    ["params", paramsOf(message)],
    ["time", moment(time)],
  ];
  return rows.filter(([, value]) => value).map(([name, value]) => [t(`figures.${name}`), value]);
}
