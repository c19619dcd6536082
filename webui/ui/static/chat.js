/** The chat surface: thread, welcome, composer, and the model that answers above them. */
import { Composer } from "./composer.js";
import { el, setText } from "./dom.js";
import { ModelPill } from "./pill.js";
import { t } from "./strings.js";
import { Thread } from "./thread.js";
import { toast } from "./toast.js";
import { Welcome } from "./welcome.js";

const SKELETON_AFTER_MS = 150;

export class Chat {
  #skeleton = 0;

  constructor(transcript, models, { toModel, toNew }) {
    this.transcript = transcript;
    this.models = models;
    this.thread = new Thread(transcript, models, { toModel, toNew });
    this.composer = new Composer(transcript, { thread: this.thread, pill: new ModelPill(models, { toModel }).node });
    const ask = (text) => {
      this.composer.fill(text);
      if (models.isReady) this.composer.send();
    };
    this.welcome = new Welcome(models, { toModel, ask });
    this.bar = el("div", { class: "connection", role: "status", hidden: true }, el("span", { class: "spinner" }), t("app.reconnecting"));
    this.title = el("h1", { class: "offscreen" });
    this.banner = el("p", { class: "banner", role: "note" });
    this.node = el(
      "section",
      { class: "chat empty", "aria-label": t("chat.chat") },
      this.title,
      el("div", { class: "chat-head" }, new ModelPill(models, { toModel }).node),
      this.banner,
      this.bar,
      this.thread.box,
      this.welcome.node,
      el("div", { class: "chat-foot" }, this.thread.jump, this.composer.node, el("p", { class: "hint" }, t("chat.hint"))),
    );
    models.on("change", () => this.composer.setModel(models.isReady ? models.status.name : null));
    transcript.on("open", () => this.#onOpen());
    for (const topic of ["structure", "title"]) transcript.on(topic, () => this.#draw());
    transcript.on("notice", (notice) => toast(notice.message));
    this.#draw();
  }

  /** Show a line that an administrator wrote for everybody; an empty one goes. */
  setBanner(text) {
    setText(this.banner, text);
  }

  setConnected(isConnected) {
    this.bar.hidden = isConnected;
  }

  #onOpen() {
    clearTimeout(this.#skeleton);
    if (this.transcript.loading) {
      this.#skeleton = setTimeout(() => this.node.classList.add("waiting"), SKELETON_AFTER_MS);
    }
    this.#draw();
    this.composer.loadDraft();
    this.composer.focus();
  }

  #draw() {
    const { loading, messages, conversation } = this.transcript;
    if (!loading) {
      clearTimeout(this.#skeleton);
      this.node.classList.remove("waiting");
    }
    const isEmpty = !loading && messages.size === 0;
    this.node.classList.toggle("empty", isEmpty);
    this.title.hidden = isEmpty; // the welcome has its own
    setText(this.title, conversation?.title || t("list.untitled"));
  }
}
