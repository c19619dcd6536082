/**
 * What an empty chat shows: suggestions, or, without a model, the way to the first one.
 */
import { el, setText } from "./dom.js";
import { bytes } from "./format.js";
import { icon } from "./icons.js";
import { StarterCard } from "./starter.js";
import { t } from "./strings.js";
import { toastError } from "./toast.js";

const OFFERED = 3;

export class Welcome {
  constructor(models, { toModel, ask }) {
    this.models = models;
    this.toModel = toModel;
    this.title = el("h1");
    this.starter = new StarterCard(models);
    this.choice = el("div", { class: "choice", hidden: true });
    const suggestions = [t("chat.suggestion_1"), t("chat.suggestion_2"), t("chat.suggestion_3"), t("chat.suggestion_4")];
    this.suggestions = el(
      "div",
      { class: "suggestions" },
      suggestions.map((text) => el("button", { type: "button", on: { click: () => ask(text) } }, text)),
    );
    this.node = el("div", { class: "welcome" }, this.title, this.starter.node, this.choice, this.suggestions);
    models.on("change", () => this.draw());
    this.draw();
  }

  draw() {
    const { models } = this;
    const isMissing = models.loaded && !models.isReady && !models.isLoading;
    const hasFiles = models.usable.length > 0;
    setText(this.title, isMissing && !hasFiles ? t("chat.no_model") : t("chat.welcome"));
    this.starter.draw({ isWanted: isMissing && !hasFiles });
    this.suggestions.hidden = isMissing;
    this.choice.hidden = !(isMissing && hasFiles);
    if (!this.choice.hidden) this.#drawChoice();
  }

  #drawChoice() {
    const { status } = this.models;
    const leaving = status.state === "unloading" ? t("model.unloading_name", { name: status.name ?? "" }) : null;
    const lead = leaving ?? (status.state === "failed" && status.error ? status.error.message : t("chat.load_first"));
    const cards = this.models.usable.slice(0, OFFERED).map((file) =>
      el(
        "button",
        { type: "button", class: "choice-model", on: { click: () => this.models.use(file.id).catch(toastError) } },
        icon("chip"),
        el("span", { class: "choice-name" }, file.name),
        el("span", { class: "choice-size" }, [file.quantization, bytes(file.size_bytes)].filter(Boolean).join(" · ")),
        el("span", { class: "choice-verb" }, t("model.load")),
      ),
    );
    const more = el("button", { type: "button", class: "link-button", on: { click: this.toModel } }, t("chat.all_models"));
    this.choice.replaceChildren(el("p", {}, lead), ...cards, more);
  }
}
