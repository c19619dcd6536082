/**
 * How strongly each LoRA adapter of the loaded model works, to be changed while it runs.
 *
 * Knows the model's status; what a scale may be is the server's to say.
 */
import { el, reconcile } from "./dom.js";
import { t } from "./strings.js";
import { toastError } from "./toast.js";

export class AdapterScales {
  #rows = []; // one for each adapter, in the order of loading
  #key = "";

  constructor(models) {
    this.models = models;
    this.list = el("ul", {});
    this.node = el("section", { class: "model-adapters", "aria-label": t("model.adapters"), hidden: true }, el("h2", {}, t("model.adapters")), el("p", { class: "status-note" }, t("model.adapters_note")), this.list);
  }

  draw() {
    const { status, isReady } = this.models;
    const adapters = (isReady && status.info?.adapters) || [];
    this.node.hidden = adapters.length === 0;
    const key = JSON.stringify([status.model_id, adapters.map(({ name }) => name)]);
    if (key !== this.#key) {
      this.#key = key;
      this.#rows = adapters.map(({ name }) => this.#row(name));
      reconcile(this.list, this.#rows.map(({ node }) => node));
    }
    adapters.forEach(({ scale }, index) => {
      const { field } = this.#rows[index];
      if (field !== document.activeElement) field.value = String(scale); // not while it is being typed
    });
  }

  #row(name) {
    const field = el("input", { type: "number", step: "0.05", min: "-100", max: "100", inputmode: "decimal", on: { change: () => this.#save() } });
    return { field, node: el("li", {}, el("label", {}, el("span", {}, name), field)) };
  }

  /** Set all of them: those that a request does not name do not work. */
  async #save() {
    if (!this.#rows.every(({ field }) => field.value !== "" && field.reportValidity())) return;
    try {
      await this.models.setLora(this.#rows.map(({ field }, id) => ({ id, scale: Number(field.value) })));
    } catch (error) {
      toastError(error);
      document.activeElement?.blur?.();
      this.draw(); // back to what is so
    }
  }
}
