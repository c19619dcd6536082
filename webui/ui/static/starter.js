/** The offer of a first model: one download, with progress and a way to break it off. */
import { el, setText } from "./dom.js";
import { bytes, percent } from "./format.js";
import { icon } from "./icons.js";
import { t } from "./strings.js";
import { toastError } from "./toast.js";

export class StarterCard {
  constructor(models) {
    this.models = models;
    this.text = el("p");
    this.note = el("p", { class: "starter-note", hidden: true });
    this.bar = el("progress", { max: "1", "aria-label": t("model.starter_progress") });
    this.get = el("button", { type: "button", class: "button primary", on: { click: () => this.#run(() => models.fetchStarter()) } });
    this.isAsking = false; // a second click wants nothing else
    this.get.append(icon("download"), el("span", {}, t("model.starter_get")));
    const cancel = { type: "button", class: "button", on: { click: () => this.#run(() => models.cancelStarter()) } };
    this.cancel = el("button", cancel, t("model.cancel"));
    const row = el("div", { class: "starter-row" }, this.bar, this.get, this.cancel);
    this.node = el("section", { class: "starter", hidden: true, "aria-label": t("model.starter") }, this.text, row, this.note);
  }

  async #run(action) {
    if (this.isAsking) return;
    this.isAsking = true;
    try {
      await action();
    } catch (error) {
      toastError(error);
    } finally {
      this.isAsking = false;
    }
  }

  /** Show the offer, the download, or nothing. */
  draw({ isWanted }) {
    const { starter, starterJob: job } = this.models;
    const isRunning = job?.status === "running";
    this.node.hidden = !(isRunning || (isWanted && starter.available));
    if (this.node.hidden) return;
    this.get.hidden = isRunning;
    this.bar.hidden = this.cancel.hidden = !isRunning;
    if (isRunning) {
      const total = job.total ?? starter.size_bytes;
      const fraction = total ? Math.min(1, job.done / total) : 0;
      this.bar.value = fraction;
      setText(this.text, t("model.starter_running", { done: bytes(job.done), total: bytes(total), percent: percent(fraction) }));
    } else {
      setText(this.text, t("model.starter_offer", { size: bytes(starter.size_bytes) }));
    }
    const failure = job?.status === "failed" ? job.error || t("model.starter_failed") : "";
    this.note.hidden = !failure;
    setText(this.note, failure);
  }
}
