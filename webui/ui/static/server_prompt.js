/**
 * What the model is told in every conversation: administrators write it in the Admin tab, everybody
 * reads it above their own system prompt.
 */
import { api } from "./api.js";
import { el, setText } from "./dom.js";
import { field, formOf } from "./field.js";
import { section } from "./sheet.js";
import { t } from "./strings.js";
import { toast } from "./toast.js";

const LINES = 6;

/** Where administrators write it. */
export class ServerPromptSection {
  #shown = ""; // what the box held when it was filled; another text is somebody's draft

  constructor() {
    const text = field("server_prompt", { label: t("server_prompt.label"), hint: t("server_prompt.hint"), lines: LINES, required: false });
    const send = async ({ server_prompt: sent }) => {
      const { server_prompt: kept } = await api.setServerPrompt(sent);
      if (this.input.value === sent) this.#fill(kept);
      return kept;
    };
    const done = (kept) => toast(t(kept ? "server_prompt.saved" : "server_prompt.gone"));
    this.input = text.input;
    this.form = formOf({ fields: [text], action: t("server_prompt.save"), send, done });
    this.form.inert = true; // until it is known what there is
    this.node = section(t("server_prompt.title"), this.form);
  }

  /** Show it as it is, unless somebody has begun to change it. */
  async load() {
    const { server_prompt: kept } = await api.serverPrompt();
    if (this.input.value === this.#shown) this.#fill(kept);
    this.form.inert = false;
  }

  #fill(text) {
    this.input.value = text;
    this.#shown = this.input.value; // line ends are as the browser writes them
  }
}

/** Where everybody reads it; nothing is there where there is none. */
export class ServerPromptNote {
  constructor() {
    const title = t("server_prompt.of_administrator");
    this.text = el("pre", { tabindex: "0", "aria-label": title });
    this.words = el("div", { class: "form-heading server-prompt", hidden: true }, el("h3", {}, title), el("p", {}, t("server_prompt.before_yours")), this.text);
    this.node = el("div", { class: "server-prompt-place" }, this.words);
    new IntersectionObserver(([seen]) => seen.isIntersecting && this.load()).observe(this.node);
  }

  /** Ask for it whenever somebody looks. */
  async load() {
    try {
      const { server_prompt: text } = await api.serverPrompt();
      this.words.hidden = !text;
      setText(this.text, text);
    } catch (error) {
      console.debug(error);
    }
  }
}
