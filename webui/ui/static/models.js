/**
 * What the page knows of models: the files, the one that is loaded, the starter's download.
 */
import { api } from "./api.js";
import { Emitter } from "./emitter.js";

const NONE = { state: "none", model_id: null, name: null, fraction: null, error: null, info: null, stalled_s: null };
const STARTER = "starter";

/** Emits "change". */
export class Models extends Emitter {
  files = [];
  status = NONE;
  starter = { available: false, size_bytes: 0 };
  starterJob = null;
  loaded = false;
  figures = null; // what the loaded model does now
  #heard = 0;

  constructor(stream) {
    super();
    stream.on("event", ({ event }) => this.#receive(event));
    stream.on("reset", () => this.load());
  }

  get isReady() {
    return this.status.state === "ready" || this.status.state === "restarting";
  }

  get isLoading() {
    return this.status.state === "loading";
  }

  /** Files that can be loaded. */
  get usable() {
    return this.files.filter((file) => !file.error);
  }

  async load() {
    const heard = this.#heard;
    const known = this.figures;
    const [list, { jobs }, { figures }] = await Promise.all([api.models(), api.jobs(), api.modelStats()]);
    this.files = list.models;
    this.starter = list.starter;
    if (heard === this.#heard) this.status = list.status; // else an event said something newer
    if (this.figures === known) this.figures = figures;
    this.starterJob = jobs.find((job) => job.kind.includes(STARTER) && job.status === "running") ?? this.starterJob;
    this.loaded = true;
    this.emit("change");
  }

  async use(modelId) {
    await this.#adoptStatus(api.loadModel(modelId));
  }

  async cancel() {
    await this.#adoptStatus(api.cancelLoad());
  }

  async unload({ force = false } = {}) {
    await this.#adoptStatus(api.unloadModel({ force }));
  }

  async setLora(scales) {
    await this.#adoptStatus(api.setLora(scales));
  }

  async fetchStarter() {
    const { job } = await api.fetchStarter();
    if (this.starterJob?.id !== job.id) this.starterJob = job;
    this.emit("change");
  }

  async cancelStarter() {
    if (this.starterJob) await api.cancelJob(this.starterJob.id);
  }

  async #adoptStatus(request) {
    const heard = this.#heard;
    const answer = await request;
    if (answer?.status && heard === this.#heard) {
      this.status = answer.status;
      this.emit("change");
    }
  }

  #receive(event) {
    if (event.type === "models") {
      this.#heard += 1;
      this.status = event.status;
      if (!this.isReady) this.figures = null;
      if (event.changed) this.load();
      this.emit("change");
    } else if (event.type === "figures") {
      this.figures = event.figures;
      this.emit("change");
    } else if (event.type === "jobs" && event.job.kind.includes(STARTER)) {
      this.starterJob = event.job;
      if (event.job.status !== "running") this.load();
      this.emit("change");
    }
  }
}
