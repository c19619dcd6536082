/** The name of the model that answers, or what it is doing, as a button to the Model tab. */
import { el, setText } from "./dom.js";
import { percent } from "./format.js";
import { t } from "./strings.js";

export class ModelPill {
  constructor(models, { toModel }) {
    this.models = models;
    this.text = el("span", { class: "pill-text" });
    this.node = el("button", { type: "button", class: "pill", on: { click: toModel } }, el("span", { class: "pill-dot" }), this.text);
    models.on("change", () => this.#draw());
    this.#draw();
  }

  #draw() {
    const { status, loaded } = this.models;
    this.node.hidden = !loaded;
    this.node.dataset.state = status.state;
    const words = describeStatus(status);
    setText(this.text, words);
    this.node.title = t("chat.pill_title");
    this.node.setAttribute("aria-label", `${words}. ${t("chat.pill_title")}`);
  }
}

/** A status in a few words. */
export function describeStatus(status) {
  const { state, name, fraction } = status;
  if (state === "ready") return name ?? t("model.loaded");
  if (state === "loading") return t("model.loading_name", { name: name ?? "", percent: percent(fraction ?? 0) });
  if (state === "unloading") return t("model.unloading_name", { name: name ?? "" });
  if (state === "restarting") return t("model.restarting");
  if (state === "failed") return t("model.failed");
  return t("model.none");
}
