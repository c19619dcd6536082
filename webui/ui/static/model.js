/**
 * The Model tab's cards: what is loaded and what it takes, and the files that could be.
 *
 * Loading goes through `trigger` when the page gave one (its form holds the options), else
 * straight to the server.
 */
import { AdapterScales } from "./adapters.js";
import { el, reconcile, setText } from "./dom.js";
import { bytes, compact, decimal, duration, integer, percent } from "./format.js";
import { icon } from "./icons.js";
import { StarterCard } from "./starter.js";
import { t } from "./strings.js";
import { toastError } from "./toast.js";

const PARTS = [
  ["weights_bytes", "model.weights"],
  ["kv_bytes", "model.kv"],
  ["compute_bytes", "model.compute"],
];

export class ModelPage {
  #cards = new Map();
  #loading = null; // the id of the model whose load the form has been told of
  trigger = null;

  constructor(models) {
    this.models = models;
    this.status = el("section", { class: "model-status", "aria-label": t("model.status"), "aria-live": "polite" });
    this.figures = el("dl", { class: "model-figures", "aria-label": t("model.figures") });
    this.adapters = new AdapterScales(models);
    this.starter = new StarterCard(models);
    this.list = el("ul", { class: "model-list", "aria-label": t("model.files") });
    this.none = el("p", { class: "model-none", hidden: true }, t("model.no_files"));
    this.node = el("div", { class: "models" }, el("h1", {}, t("model.title")), this.status, this.figures, this.adapters.node, this.starter.node, this.list, this.none);
    models.on("change", () => {
      this.draw();
      this.#tellLoad();
    });
    this.draw();
  }

  draw() {
    const { models } = this;
    this.starter.draw({ isWanted: models.loaded && models.usable.length === 0 });
    this.none.hidden = !models.loaded || models.files.length > 0;
    this.#drawStatus();
    this.#drawFigures();
    this.adapters.draw();
    const files = [...models.files].sort((a, b) => Boolean(a.error) - Boolean(b.error));
    reconcile(this.list, files.map((file) => this.#card(file)));
  }

  /** Tell the form that a load began or ended; it asks the server how. */
  #tellLoad() {
    const { status, isLoading } = this.models;
    const loading = isLoading ? status.model_id : null;
    if (loading === this.#loading || !this.trigger) return;
    this.trigger("status", { model_id: loading ?? this.#loading });
    this.#loading = loading;
  }

  #drawStatus() {
    const { status, loaded } = this.models;
    const key = JSON.stringify([status, loaded, this.models.usable.length > 0]);
    if (this.drawn === key) return; // an aria-live region: say only what is new
    this.drawn = key;
    this.status.dataset.state = status.state;
    const cancel = () => this.models.cancel().catch(toastError);
    const again = () => Promise.resolve(this.load(status.model_id)).catch(toastError);
    const parts = { none: () => emptyStatus(this.models.usable.length > 0), loading: (now) => loadingStatus(now, cancel), ready: readyStatus, unloading: unloadingStatus, restarting: restartingStatus, failed: (now) => failedStatus(now, again) };
    this.status.hidden = !loaded;
    this.status.replaceChildren(...parts[status.state](status));
  }

  /** Outside the live region: nobody wants to be read new figures every second. */
  #drawFigures() {
    const { figures, isReady } = this.models;
    this.figures.hidden = !isReady || !figures;
    if (this.figures.hidden) return;
    const texts = figureTexts(figures);
    if (!this.figures.firstChild) {
      this.figures.append(...texts.map(([name]) => el("div", {}, el("dt", {}, name), el("dd", {}))));
    }
    this.figures.querySelectorAll("dd").forEach((node, index) => setText(node, texts[index][1]));
  }

  #card(file) {
    let card = this.#cards.get(file.id);
    const { status } = this.models;
    const isThis = status.model_id === file.id;
    const state = isThis ? status.state : "none";
    const busy = this.models.isLoading || status.state === "unloading";
    const key = JSON.stringify([file, state, busy]);
    if (card?.key !== key) {
      const node = card?.node ?? el("li", { class: "model-card" });
      node.dataset.state = file.error ? "bad" : state;
      node.replaceChildren(...this.#cardParts(file, state, busy));
      card = { key, node };
      this.#cards.set(file.id, card);
    }
    const bar = card.node.querySelector("progress");
    if (bar) {
      bar.value = status.fraction ?? 0;
      setText(card.node.querySelector(".model-percent"), percent(status.fraction ?? 0));
    }
    return card.node;
  }

  #cardParts(file, state, busy) {
    const badge = file.quantization ? el("span", { class: "badge" }, file.quantization) : null;
    const head = el("div", { class: "model-name" }, el("strong", {}, file.name), badge);
    const facts = [
      bytes(file.size_bytes),
      file.parameters ? t("model.parameters", { number: compact(file.parameters) }) : null,
      file.context_length ? t("model.context", { tokens: integer(file.context_length) }) : null,
      file.architecture,
    ].filter(Boolean);
    const words = el("div", { class: "model-words" }, head, el("p", { class: "model-facts" }, facts.join(" · ")));
    if (file.error) words.append(el("p", { class: "model-error" }, icon("warning"), el("span", {}, file.error)));
    return [words, el("div", { class: "model-acts" }, this.#acts(file, state, busy))];
  }

  #acts(file, state, busy) {
    const act = (label, run, kind = "") =>
      el("button", { type: "button", class: `button ${kind}`, "aria-label": `${label}: ${file.name}`, on: { click: () => Promise.resolve(run()).catch(toastError) } }, label);
    if (file.error) return [];
    if (state === "loading") {
      return [
        el("progress", { max: "1", "aria-label": t("model.loading") }),
        el("span", { class: "model-percent" }),
        act(t("model.cancel"), () => this.models.cancel()),
      ];
    }
    if (state === "ready" || state === "restarting") {
      return [el("span", { class: "badge good" }, icon("check"), t("model.loaded")), act(t("model.unload"), () => this.models.unload())];
    }
    if (state === "unloading") {
      return [el("span", { class: "badge" }, t("model.unloading")), act(t("model.unload_now"), () => this.models.unload({ force: true }))];
    }
    const load = act(t("model.load"), () => this.load(file.id), "primary");
    load.disabled = busy;
    return [load];
  }

  /** Load a file, with the options of the form where there is one. */
  load(modelId) {
    if (this.trigger) return this.trigger("load", { model_id: modelId });
    return this.models.use(modelId);
  }
}

function emptyStatus(hasFiles) {
  const line = el("p", { class: "status-line" }, el("span", { class: "pill-dot" }), el("strong", {}, t("model.none")));
  return [line, el("p", { class: "status-note" }, hasFiles ? t("model.none_hint") : t("model.no_files_hint"))];
}

function loadingStatus(status, cancel) {
  const line = el("p", { class: "status-line" }, el("span", { class: "pill-dot" }), el("strong", {}, t("model.loading_name", { name: status.name ?? "", percent: percent(status.fraction ?? 0) })));
  const bar = el("progress", { max: "1", "aria-label": t("model.loading") });
  bar.value = status.fraction ?? 0;
  return [line, bar, ...stalled(status, cancel)];
}

/** A load that stands still: for how long, and the way out. */
function stalled({ stalled_s: seconds }, cancel) {
  if (seconds === null) return [];
  const words = t("model.stalled", { time: duration(seconds, { whole: true }) });
  return [
    el("p", { class: "status-line status-error" }, icon("warning"), el("strong", {}, words)),
    el("p", { class: "status-note" }, t("model.stalled_hint")),
    el("button", { type: "button", class: "button", on: { click: cancel } }, t("model.cancel")),
  ];
}

function unloadingStatus(status) {
  return [el("p", { class: "status-line" }, el("span", { class: "pill-dot" }), el("strong", {}, t("model.unloading_name", { name: status.name ?? "" }))), el("p", { class: "status-note" }, t("model.unloading_hint"))];
}

function restartingStatus(status) {
  return [el("p", { class: "status-line" }, el("span", { class: "pill-dot" }), el("strong", {}, status.name ?? "")), el("p", { class: "status-note" }, t("model.restarting_hint"))];
}

/** Why there is none, and the way to try it again; its file may have no card here. */
function failedStatus(status, again) {
  const why = status.error ? failure(status) : [el("p", { class: "status-line" }, icon("warning"), el("strong", {}, t("model.failed")))];
  if (!status.model_id) return why;
  return [...why, el("button", { type: "button", class: "button", "aria-label": `${t("model.load_again")}: ${status.name}`, on: { click: again } }, t("model.load_again"))];
}

/** Why the last load did not succeed; also beside a model that was loaded before it. */
function failure({ error }) {
  if (!error) return [];
  const line = el("p", { class: "status-line status-error" }, icon("warning"), el("strong", {}, error.message));
  return error.hint ? [line, el("p", { class: "status-note" }, error.hint)] : [line];
}

function readyStatus(status) {
  const line = el("p", { class: "status-line" }, el("span", { class: "pill-dot" }), el("strong", {}, status.name ?? t("model.loaded")));
  const { info } = status;
  if (!info) return [line, ...failure(status)];
  const facts = [
    t("model.context", { tokens: integer(info.context_length) }),
    t("model.slots", { count: info.num_slots }),
    ...(info.num_gpu_layers == null ? [] : [t("model.gpu_layers", { num: info.num_gpu_layers, all: info.num_layers })]),
  ].join(" · ");
  return [line, el("p", { class: "status-note" }, facts), ...memoryChart(info.memory), ...failure(status)];
}

/** Names and values, always in the same order. */
function figureTexts(figures) {
  const { decode_threads: decode, prompt_threads: prompt } = figures;
  const apart = { decode: integer(decode), prompt: integer(prompt) };
  return [
    [t("model.running"), integer(figures.running)],
    [t("model.waiting"), integer(figures.waiting)],
    [t("model.rate"), decimal(figures.tokens_per_s)],
    [t("model.reused"), shareText(figures.reused)],
    [t("model.guessed"), shareText(figures.guessed)],
    [t("model.threads"), decode === prompt ? integer(decode) : t("model.threads_apart", apart)],
  ];
}

function shareText(part) {
  return part === null ? "–" : percent(part);
}

/** One bar split into what takes the memory, with a legend. */
function memoryChart(memory) {
  const total = PARTS.reduce((sum, [name]) => sum + (memory?.[name] ?? 0), 0);
  if (!total) return [];
  const bar = el("div", { class: "memory-bar", "aria-hidden": "true" });
  const legend = el("dl", { class: "memory" });
  for (const [name, key] of PARTS) {
    const share = el("span", { class: `memory-part ${name}` });
    share.style.flexGrow = String(memory[name]);
    bar.append(share);
    legend.append(el("div", {}, el("dt", { class: name }, t(key)), el("dd", {}, bytes(memory[name]))));
  }
  legend.append(el("div", { class: "memory-total" }, el("dt", {}, t("model.memory")), el("dd", {}, bytes(total))));
  return [bar, legend];
}
