/**
 * The sidebar: new chat, filter, the list of conversations by date, theme and shortcuts.
 *
 * Draws what `Conversations` holds; knows nothing of messages.
 */
import { el, reconcile, setText } from "./dom.js";
import { dateGroup } from "./format.js";
import { brandMark, icon } from "./icons.js";
import { openMenu } from "./menu.js";
import { showReceived } from "./received.js";
import { showSharing } from "./sharing.js";
import { t } from "./strings.js";
import { setTheme, theme } from "./theme.js";
import { toast, toastError } from "./toast.js";

const THEMES = [
  ["light", "sun", "app.theme_light"],
  ["dark", "moon", "app.theme_dark"],
  ["system", "monitor", "app.theme_system"],
];

export class Sidebar {
  #rows = new Map();
  #headings = new Map();
  #selected = null;
  #filter = "";

  /** `go` opens a conversation by id, or a new one for null; `show…` open the sheets of the foot,
   * `userMenu` returns the items behind the name. */
  constructor(conversations, shares, { go, hrefOf, showShortcuts, showDevices, userMenu }) {
    this.conversations = conversations;
    this.shares = shares;
    this.go = go;
    this.hrefOf = hrefOf;
    this.node = this.#build(showShortcuts, showDevices, userMenu);
    for (const list of [conversations, shares]) list.on("change", () => this.render());
  }

  #build(showShortcuts, showDevices, userMenu) {
    this.list = el("nav", { class: "side-list", "aria-label": t("list.conversations") });
    this.end = el("div", { class: "side-end", "aria-hidden": "true" });
    this.input = el("input", {
      type: "search",
      placeholder: t("list.filter"),
      "aria-label": t("list.filter"),
      autocomplete: "off",
      on: { input: () => this.#setFilter(this.input.value), keydown: (event) => this.#onFilterKey(event) },
    });
    const openReceived = () => showReceived(this.shares, this.go);
    this.received = el("button", { type: "button", class: "side-received", hidden: true, on: { click: openReceived } }, icon("people"), el("span", {}, t("share.received")), el("span", {}));
    this.user = el("span", {});
    const openUser = (event) => openMenu(event.currentTarget, t("account.menu"), userMenu());
    const user = el("button", { type: "button", class: "side-user", title: t("account.menu"), on: { click: openUser } }, icon("person"), this.user);
    const button = (name, label, run) =>
      el("button", { type: "button", class: "icon-button", "aria-label": label, title: label, on: { click: run } }, icon(name));
    const node = el(
      "aside",
      { class: "side", "aria-label": t("list.sidebar") },
      el("div", { class: "side-head" }, brandMark(), el("span", {}, t("app.name"))),
      el(
        "a",
        { class: "side-new", href: this.hrefOf(null), data: { act: "new" } },
        icon("plus"),
        el("span", {}, t("list.new")),
        el("kbd", {}, t("list.new_key")),
      ),
      el("label", { class: "side-filter" }, icon("search"), this.input, el("kbd", {}, t("list.filter_key"))),
      this.received,
      this.list,
      el(
        "div",
        { class: "side-foot" },
        user,
        button("phone", t("lan.title"), showDevices),
        button("keyboard", t("app.shortcuts"), showShortcuts),
        button("sun", t("app.theme"), (event) => this.#themeMenu(event.currentTarget)),
      ),
    );
    node.addEventListener("click", (event) => this.#onClick(event));
    this.list.addEventListener("dblclick", (event) => this.#onRow(event, (id) => this.rename(id)));
    new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && this.#more(), {
      root: this.list,
      rootMargin: "400px",
    }).observe(this.end);
    return node;
  }

  /** `canShare`: whether this person may let others read conversations. */
  setUser(name, { canShare = false } = {}) {
    setText(this.user, name);
    this.canShare = canShare;
  }

  select(id) {
    this.#selected = id;
    for (const [key, row] of this.#rows) this.#mark(row, key === id);
  }

  focusFilter() {
    this.input.focus();
    this.input.select();
  }

  /** The conversation `step` places below the open one, as shown. */
  neighbour(step) {
    const ids = [...this.list.querySelectorAll("[data-id]")].map((row) => row.dataset.id);
    return ids[ids.indexOf(this.#selected) + step] ?? null;
  }

  render() {
    const wanted = this.#filter.toLocaleLowerCase();
    const views = this.conversations.list().filter((view) => titleOf(view).toLocaleLowerCase().includes(wanted));
    const nodes = [];
    const { length: numReceived } = this.shares.received;
    this.received.hidden = numReceived === 0;
    setText(this.received.lastChild, String(numReceived));
    let heading = null;
    for (const view of views) {
      const group = dateGroup(view.updated_at);
      if (group !== heading) nodes.push(this.#heading(group));
      heading = group;
      nodes.push(this.#row(view));
    }
    if (views.length === 0 && this.conversations.loaded && !this.conversations.hasMore) nodes.push(this.#nothing());
    reconcile(this.list, [...nodes, this.end]);
    const kept = new Set(nodes);
    for (const [id, row] of this.#rows) if (!kept.has(row) && !this.conversations.get(id)) this.#rows.delete(id);
  }

  #nothing() {
    this.none ??= el("p", { class: "side-none" });
    setText(this.none, this.#filter ? t("list.no_match") : t("list.none"));
    return this.none;
  }

  #heading(text) {
    if (!this.#headings.has(text)) this.#headings.set(text, el("h2", { class: "side-heading" }, text));
    return this.#headings.get(text);
  }

  #row(view) {
    let row = this.#rows.get(view.id);
    if (!row) {
      const more = { type: "button", class: "row-more", data: { act: "more" }, "aria-haspopup": "menu" };
      row = el(
        "a",
        { class: "row", href: this.hrefOf(view.id), data: { id: view.id } },
        el("span", { class: "row-title" }),
        el("span", { class: "row-shared", hidden: true, role: "img", "aria-label": t("share.is_shared"), title: t("share.is_shared") }, icon("people")),
        el("span", { class: "spinner", hidden: true, role: "img", "aria-label": t("list.running") }),
        el("button", more, icon("more")),
      );
      this.#rows.set(view.id, row);
    }
    const title = titleOf(view);
    if (!row.classList.contains("renaming")) setText(row.querySelector(".row-title"), title);
    row.title = title;
    row.querySelector(".spinner").hidden = !view.running;
    row.querySelector(".row-shared").hidden = !this.shares.has(view.id);
    row.querySelector(".row-more").setAttribute("aria-label", t("list.more", { title }));
    this.#mark(row, view.id === this.#selected);
    return row;
  }

  #mark(row, isOpen) {
    row.classList.toggle("on", isOpen);
    if (isOpen) row.setAttribute("aria-current", "page");
    else row.removeAttribute("aria-current");
  }

  #onRow(event, run) {
    const row = event.target.closest(".row");
    if (row && !event.target.closest("button, .renaming")) run(row.dataset.id);
  }

  #onClick(event) {
    const act = event.target.closest("[data-act]")?.dataset.act;
    const row = event.target.closest(".row");
    if (event.target.closest(".renaming")) event.preventDefault();
    else if (act === "more") {
      event.preventDefault();
      this.#rowMenu(event.target.closest("button"), row.dataset.id);
    } else if ((act === "new" || row) && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      this.go(row?.dataset.id ?? null);
    }
  }

  #rowMenu(button, id) {
    openMenu(button, t("list.more", { title: titleOf(this.conversations.get(id)) }), [
      { label: t("list.rename"), icon: "edit", run: () => this.rename(id) },
      ...(this.canShare ? [{ label: t("share.open"), icon: "share", run: () => showSharing(id, this.shares) }] : []),
      { label: t("list.delete"), icon: "delete", danger: true, run: () => this.remove(id) },
    ]);
  }

  #themeMenu(button) {
    const choices = THEMES.map(([name, mark, key]) => ({
      label: t(key),
      icon: mark,
      checked: theme() === name,
      run: () => setTheme(name),
    }));
    openMenu(button, t("app.theme"), choices);
  }

  /** Edit the title in its place. Enter and leaving keep it, Esc does not. */
  rename(id) {
    const row = this.#rows.get(id);
    if (!row || row.classList.contains("renaming")) return;
    const before = titleOf(this.conversations.get(id));
    const input = el("input", { class: "row-edit", "aria-label": t("list.title"), maxlength: "200" });
    input.value = before;
    row.classList.add("renaming");
    row.querySelector(".row-title").replaceChildren(input);
    input.select();
    input.focus();
    let isOver = false;
    const finish = async (keep) => {
      if (isOver) return;
      isOver = true;
      row.classList.remove("renaming");
      const title = input.value.trim();
      const changed = keep && title && title !== before;
      setText(row.querySelector(".row-title"), changed ? title : before);
      if (changed) await this.conversations.rename(id, title).catch(toastError);
      this.render();
    };
    input.addEventListener("blur", () => finish(true));
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.isComposing) return;
      if (event.key === "Enter" || event.key === "Escape") {
        event.preventDefault();
        finish(event.key === "Enter");
        row.focus();
      }
    });
  }

  /** Delete, with a way back for as long as the note stands. */
  async remove(id) {
    const wasOpen = id === this.#selected;
    try {
      await this.conversations.remove(id);
    } catch (error) {
      toastError(error);
      return;
    }
    if (wasOpen) this.go(null);
    const undo = async () => {
      await this.conversations.restore(id);
      if (wasOpen) this.go(id);
    };
    toast(t("list.deleted"), { action: { label: t("list.undo"), run: () => undo().catch(toastError) } });
  }

  #setFilter(text) {
    this.#filter = text.trim();
    this.render();
    this.#more();
  }

  #onFilterKey(event) {
    if (event.key === "Escape" && this.input.value) {
      event.stopPropagation();
      this.input.value = "";
      this.#setFilter("");
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      this.list.querySelector(".row")?.focus();
    }
  }

  /** Fetch on while the end of the list is in sight. */
  async #more() {
    if (!this.conversations.hasMore) return;
    await this.conversations.more().catch(toastError);
    const { top } = this.end.getBoundingClientRect();
    const { bottom, height } = this.list.getBoundingClientRect();
    if (height > 0 && top < bottom + 400 && this.conversations.hasMore) setTimeout(() => this.#more(), 50);
  }
}

function titleOf(view) {
  return view?.title || t("list.untitled");
}
