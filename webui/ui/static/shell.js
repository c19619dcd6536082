/**
 * The shell: our own frame for sidebar, chat and models until Gradio's mounts take them over.
 *
 * Nodes are moved, not made anew: text, focus and scroll positions stay.
 */
import { el, moveInto } from "./dom.js";
import { drawer } from "./drawer.js";
import { t } from "./strings.js";

const PAGES = ["chat", "model", "parameters", "admin"];
const LABELS = { chat: "tabs.chat", model: "tabs.model", parameters: "tabs.parameters", admin: "tabs.admin" };

export class Shell {
  #places = new Map();
  #tabs = new Map();
  #adopted = new Set();

  /** `parts`: name → living node, for "sidebar", "chat", "model", "admin" and "server_prompt". */
  constructor(parts) {
    this.parts = parts;
    this.node = document.getElementById("shell");
    this.main = el("main", { class: "shell-main" });
    const bar = el("div", { class: "shell-tabs", role: "tablist", "aria-label": t("app.pages") });
    for (const name of PAGES) {
      const tab = { type: "button", role: "tab", id: `shell-tab-${name}`, "aria-controls": `shell-page-${name}`, on: { click: () => this.show(name) } };
      this.#tabs.set(name, el("button", tab, t(LABELS[name])));
      const page = el("div", { class: "shell-page", id: `shell-page-${name}`, role: "tabpanel", "aria-labelledby": `shell-tab-${name}` });
      this.#places.set(name, page);
    }
    bar.append(...this.#tabs.values());
    bar.addEventListener("keydown", (event) => this.#onKey(event));
    this.main.append(el("div", { class: "shell-bar" }, bar), ...this.#places.values());
    this.side = el("div", { class: "shell-side" });
    this.#places.get("parameters").append(el("p", { class: "shell-wait" }, el("span", { class: "spinner" }), t("app.starting")));
    this.side.append(parts.sidebar);
    this.#places.get("chat").append(parts.chat);
    this.#places.get("model").append(el("div", { class: "page" }, parts.model));
    this.#places.get("admin").append(el("div", { class: "page" }, parts.admin));
    this.node.replaceChildren(this.side, this.main);
    this.show("chat");
  }

  /** Say that the pages that need Gradio will not come. */
  fail() {
    this.#places.get("parameters").replaceChildren(el("p", { class: "shell-wait" }, t("app.no_forms")));
  }

  show(name) {
    for (const [other, page] of this.#places) {
      const isShown = other === name;
      page.hidden = !isShown;
      this.#tabs.get(other).setAttribute("aria-selected", String(isShown));
      this.#tabs.get(other).tabIndex = isShown ? 0 : -1;
    }
    this.shown = name;
    const gradioTab = document.getElementById(`tab-${name}-button`);
    if (gradioTab && gradioTab.getAttribute("aria-selected") !== "true") gradioTab.click();
  }

  /** Put a living part into the mount that Gradio made for it. */
  adopt(name, mount) {
    moveInto(mount, this.parts[name]);
    this.#adopted.add(name);
    if (!this.#adopted.has("chat") || !this.#adopted.has("sidebar")) return;
    if (this.node.hidden) return;
    if (this.shown !== "chat") this.show(this.shown);
    drawer.adopt();
    requestAnimationFrame(() => {
      this.node.hidden = true;
      document.body.classList.add("with-gradio");
      performance.mark("adopted");
    });
  }

  #onKey(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const seen = PAGES.filter((page) => this.#tabs.get(page).offsetParent !== null);
    const name = seen.at((seen.indexOf(this.shown) + step) % seen.length);
    this.show(name);
    this.#tabs.get(name).focus();
  }
}
