/**
 * Defaults and limits, in the Admin tab: what new people are, what users may, who has which limit.
 *
 * Knows no rule of what comes from where: the server says it of each limit.
 */
import { api } from "./api.js";
import { el, setText } from "./dom.js";
import { choice } from "./field.js";
import { bytes, integer } from "./format.js";
import { drawLimits, limitsOfAll, NAMES, personLimits } from "./limits.js";
import { LongList } from "./long_list.js";
import { PERMISSIONS } from "./people.js";
import { button, section } from "./sheet.js";
import { t } from "./strings.js";
import { toastError } from "./toast.js";

const ROLES = ["user", "guest"];

export class QuotasSection {
  #saving = Promise.resolve();
  #numWaiting = 0;

  constructor() {
    this.list = new LongList({ row: (person) => personRow(person), filter: t("quotas.filter"), none: t("quotas.nobody") });
    this.node = section(t("quotas.title"), this.#defaults(), limitsOfAll(() => this.load().catch(toastError)), el("h4", {}, t("quotas.people")), el("p", {}, t("quotas.text")), this.list.node);
  }

  async load() {
    const [{ defaults }, { people }, { users }] = await Promise.all([api.defaults(), api.allLimits(), api.users()]);
    this.#show(defaults);
    const names = new Map(users.map((user) => [user.id, user.name]));
    const named = people.map((one) => ({ ...one, id: one.user_id, name: names.get(one.user_id) ?? "" }));
    this.list.show(named.sort((one, other) => one.name.localeCompare(other.name)));
  }

  #defaults() {
    this.role = choice("role", { label: t("quotas.role"), choices: ROLES.map((one) => [one, t(`people.${one}`)]), value: "user" });
    this.boxes = PERMISSIONS.map((value) => el("input", { type: "checkbox", value }));
    const labels = this.boxes.map((box) => el("label", {}, box, t(`people.${box.value}`)));
    this.reset = button(t("quotas.reset"), () => this.#save(() => null));
    const chosen = () => this.boxes.filter((one) => one.checked).map((one) => one.value);
    const asBefore = () => (this.defaults.is_changed ? this.defaults.permissions : null);
    this.role.input.addEventListener("change", () => this.#save(asBefore));
    for (const box of this.boxes) box.addEventListener("change", () => this.#save(chosen));
    this.may = el("fieldset", { disabled: true }, el("legend", {}, t("quotas.may")), ...labels);
    this.role.input.disabled = true; // until it is known how it stands
    this.reset.hidden = true;
    return el("div", { class: "acts" }, this.role.node, this.may, el("p", {}, t("quotas.may_text")), this.reset);
  }

  /**
   * Save the defaults as they are chosen by then, one time after the other; `permissions` returns
   * those to be saved.
   */
  #save(permissions) {
    this.#numWaiting += 1;
    const send = async () => {
      this.defaults = (await api.setDefaults({ role: this.role.input.value, permissions: permissions() })).defaults;
    };
    const end = () => {
      this.#numWaiting -= 1;
      this.#show(this.defaults);
    };
    this.#saving = this.#saving.then(send).catch(toastError).finally(end);
    return this.#saving;
  }

  /** Draw the defaults, unless somebody chose others that are not saved yet. */
  #show(defaults) {
    this.defaults = defaults;
    if (this.#numWaiting) return;
    this.may.disabled = this.role.input.disabled = false;
    this.role.input.value = defaults.role;
    for (const box of this.boxes) box.checked = defaults.permissions.includes(box.value);
    this.reset.hidden = !defaults.is_changed;
  }
}

/** One person: their limits in a line that opens to the form. */
function personRow(first) {
  const name = el("span", {});
  const words = el("small", {});
  const place = el("div", { class: "acts" });
  const details = el("details", { data: { id: first.id } }, el("summary", {}, el("span", { class: "row-words" }, name, words)), place);
  const update = (person) => {
    setText(name, person.name);
    setText(words, inWords(person));
  };
  const saved = (limits) => update({ ...first, ...limits });
  details.addEventListener("toggle", () => {
    if (details.open) drawLimits(place, personLimits(first, saved)).catch(toastError);
  });
  update(first);
  return { node: el("li", {}, details), update };
}

/** Limits that hold, each with from where it comes; none where there is none. */
function inWords({ effective, sources }) {
  const said = NAMES.filter((name) => effective[name] !== null || sources[name].kind !== "default").map((name) => {
    const { kind, group } = sources[name];
    const limit = effective[name] === null ? t("limits.none") : name.endsWith("_bytes") ? bytes(effective[name]) : integer(effective[name]);
    return t("quotas.line", { name: t(`limits.${name}`), limit, source: t(`quotas.of_${kind}`, { group }) });
  });
  return said.join(" · ") || t("quotas.none");
}
