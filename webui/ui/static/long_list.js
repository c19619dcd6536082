/**
 * A list of named things that may be long: a filter, the first of them, the rest behind a button.
 *
 * Rows stay while their thing does, so that what is open or half written in one is not lost.
 */
import { el, reconcile, setText } from "./dom.js";
import { button } from "./sheet.js";
import { t } from "./strings.js";

const SHOWN = 20;
const FILTER_FROM = 9;

export class LongList {
  #items = [];
  #rows = new Map(); // by id: {node, update}
  #isWhole = false;
  #row;
  #none;
  #shown;

  /**
   * `row`: from a thing with `id` and `name` to {node, update}; `none`: said where there are none.
   * Where a thing has a text `found`, the filter looks in that and not in the name.
   */
  constructor({ row, filter, none, shown = SHOWN }) {
    this.#row = row;
    this.#none = none;
    this.#shown = shown;
    this.input = searchField(filter, () => this.#draw());
    this.list = el("ul", { class: "rows" });
    this.none = el("p", {});
    this.more = button("", () => {
      this.#isWhole = true;
      this.#draw();
    });
    this.node = el("div", { class: "long-list" }, this.input, this.list, this.none, this.more);
  }

  show(items) {
    const ids = new Set(items.map(({ id }) => id));
    for (const id of this.#rows.keys()) if (!ids.has(id)) this.#rows.delete(id);
    for (const item of items) this.#rows.get(item.id)?.update(item);
    this.#items = items;
    this.#draw();
  }

  #draw() {
    const found = matching(this.#items, this.input.value);
    const shown = this.#isWhole ? found : found.slice(0, this.#shown);
    reconcile(this.list, shown.map((item) => this.#rowOf(item).node));
    this.input.hidden = this.#items.length < FILTER_FROM;
    this.none.hidden = found.length > 0;
    setText(this.none, this.#items.length ? t("groups.no_match") : this.#none);
    this.more.hidden = shown.length === found.length;
    setText(this.more, t("groups.show_all", { count: found.length }));
  }

  #rowOf(item) {
    if (!this.#rows.has(item.id)) this.#rows.set(item.id, this.#row(item));
    return this.#rows.get(item.id);
  }
}

/** A field whose text narrows a list down. */
export function searchField(label, run) {
  return el("input", { type: "search", class: "list-filter", placeholder: label, "aria-label": label, autocomplete: "off", autocapitalize: "none", spellcheck: "false", on: { input: run } });
}

/** Those whose name, or what they are found by, has the text in it, whatever its case. */
export function matching(items, text) {
  const wanted = text.trim().toLocaleLowerCase();
  return items.filter(({ name, found = name }) => found.toLocaleLowerCase().includes(wanted));
}
