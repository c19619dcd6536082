/**
 * Groups of people, in the Admin tab: members, what they add to the role, limits, the end of one.
 *
 * Each change is sent at once; what the server answers is drawn.
 */
import { api } from "./api.js";
import { el, setText } from "./dom.js";
import { field, formOf } from "./field.js";
import { limitsOfGroup } from "./limits.js";
import { LongList, matching, searchField } from "./long_list.js";
import { PERMISSIONS } from "./people.js";
import { button, section } from "./sheet.js";
import { t } from "./strings.js";
import { toast, toastError } from "./toast.js";

const OFFERED = 6;
const MEMBERS_SHOWN = 8;

export class GroupsSection {
  #users = [];

  /** `changed` is called when something changed that limits or permissions of people follow from. */
  constructor({ changed }) {
    this.changed = changed;
    this.list = new LongList({ row: (group) => this.#row(group), filter: t("groups.filter"), none: t("groups.none") });
    this.node = section(t("groups.title"), el("p", {}, t("groups.text")), this.list.node, this.#adding());
  }

  async load() {
    const [{ groups }, { users }] = await Promise.all([api.groups(), api.users()]);
    this.#users = users;
    this.list.show(groups);
  }

  #adding() {
    const place = el("div", {});
    const close = () => place.replaceChildren(button(t("groups.add_open"), open));
    const done = async ({ group }) => {
      close();
      await this.load().catch(toastError);
      this.#open(group.id);
    };
    const open = () => {
      const name = field("name", { label: t("groups.name"), autocomplete: "off", maxlength: 40 });
      place.replaceChildren(formOf({ fields: [name], action: t("groups.add"), send: api.addGroup, done }));
      name.input.focus();
    };
    close();
    return place;
  }

  /** Open one that was just made, to be filled. */
  #open(id) {
    const made = [...this.list.list.querySelectorAll("details")].find((one) => one.dataset.id === id);
    if (!made) return;
    made.open = true;
    made.scrollIntoView({ block: "nearest" });
  }

  #row(first) {
    let group = first;
    const name = el("span", {});
    const words = el("small", {});
    const acts = el("div", { class: "acts" });
    const details = el("details", { data: { id: group.id } }, el("summary", {}, el("span", { class: "row-words" }, name, words)), acts);
    let parts = null;
    const update = (next) => {
      group = next;
      setText(name, group.name);
      setText(words, inWords(group));
      parts?.update(group);
    };
    const send = async (change) => {
      update((await api.changeGroup(group.id, change)).group);
      this.changed();
    };
    const remove = async () => {
      if (!window.confirm(consequence(group))) return;
      await api.deleteGroup(group.id);
      toast(t("groups.deleted", { name: group.name }));
      await this.load();
      this.changed();
    };
    details.addEventListener("toggle", () => {
      if (!details.open || parts) return;
      parts = groupParts(group, { send, remove, users: () => this.#users });
      acts.replaceChildren(...parts.nodes);
    });
    update(group);
    return { node: el("li", {}, details), update };
  }
}

const spoken = (permissions) =>
  PERMISSIONS.filter((one) => permissions.includes(one))
    .map((one) => t(`people.${one}`))
    .join(", ");

/** Who belongs to it and what that means, in one line. */
function inWords({ member_ids: members, permissions, limits }) {
  const adds = spoken(permissions);
  const numLimits = Object.keys(limits).length;
  return [t("groups.members", { count: members.length }), adds && t("groups.adds", { what: adds }), numLimits && t("groups.limits", { count: numLimits })].filter(Boolean).join(" · ");
}

/** What goes with a group, to be read before it does. */
function consequence({ name, member_ids: members, permissions, limits }) {
  const lost = [spoken(permissions), Object.keys(limits).length && t("groups.its_limits")].filter(Boolean).join("; ");
  const sure = t("groups.delete_sure", { name });
  if (!members.length) return `${sure} ${t("groups.delete_nobody")}`;
  const who = t("groups.delete_members", { count: members.length });
  return [sure, who, lost ? t("groups.delete_loses", { lost }) : t("groups.delete_nothing")].join(" ");
}

/** All that can be done to a group; `update` draws it as it is now. */
function groupParts(first, { send, remove, users }) {
  let group = first;
  const name = field("name", { label: t("groups.name"), value: group.name, autocomplete: "off", maxlength: 40 });
  const renaming = formOf({ fields: [name], action: t("groups.rename"), send, done: () => toast(t("groups.renamed")) });
  renaming.classList.add("one-line");
  const members = membersOf({ send, users });
  const boxes = PERMISSIONS.map((value) => el("input", { type: "checkbox", value, on: { change: () => change() } }));
  let saving = Promise.resolve(); // one time after the other, each as they are chosen by then
  let numWaiting = 0;
  const change = () => {
    numWaiting += 1;
    const save = () => send({ permissions: boxes.filter((box) => box.checked).map((box) => box.value) });
    saving = saving
      .then(save)
      .catch(toastError)
      .finally(() => {
        numWaiting -= 1;
        update(group);
      });
  };
  const labels = boxes.map((box) => el("label", {}, box, t(`people.${box.value}`)));
  const may = el("fieldset", {}, el("legend", {}, t("groups.may")), ...labels);
  const limits = limitsOfGroup(() => group, (wanted) => send({ limits: wanted }));
  const end = el("div", { class: "act-buttons" }, button(t("groups.delete"), remove, { danger: true }));
  const update = (next) => {
    group = next;
    if (document.activeElement !== name.input) name.input.value = group.name;
    if (!numWaiting) for (const box of boxes) box.checked = group.permissions.includes(box.value);
    members.update(group);
  };
  update(group);
  return { nodes: [renaming, members.node, may, limits, end], update };
}

/** Who belongs to a group, and a search for who else could. */
function membersOf({ send, users }) {
  let member_ids = [];
  const title = el("h4", { tabindex: "-1" }, t("groups.who"));
  const move = async (change) => {
    await send(change);
    title.focus({ preventScroll: true }); // the button that had the focus is gone
  };
  const list = new LongList({
    row: (user) => ({ node: personRow(user, t("groups.remove"), () => move({ leaving_ids: [user.id] })), update: () => {} }),
    filter: t("groups.filter_members"),
    none: t("groups.no_members"),
    shown: MEMBERS_SHOWN,
  });
  const offered = el("ul", { class: "rows" });
  const search = searchField(t("groups.search"), () => offer());
  const offer = () => {
    const others = users().filter(({ id }) => !member_ids.includes(id));
    const found = matching(others, search.value);
    const isAsked = search.value.trim() !== "" || others.length <= OFFERED;
    const rows = found.slice(0, OFFERED).map((user) => personRow(user, t("groups.join"), () => move({ joining_ids: [user.id] })));
    const rest = found.length > OFFERED ? [note(t("groups.more", { count: found.length - OFFERED }))] : [];
    search.hidden = others.length === 0;
    offered.replaceChildren(...(isAsked ? [...rows, ...rest] : []), ...(isAsked && others.length && !found.length ? [note(t("groups.no_match"))] : []));
  };
  const update = (group) => {
    member_ids = group.member_ids;
    const known = new Map(users().map((user) => [user.id, user]));
    const byName = (one, other) => one.name.localeCompare(other.name);
    list.show(member_ids.map((id) => known.get(id)).filter(Boolean).sort(byName));
    offer();
  };
  const node = el("div", { class: "members" }, el("h4", {}, t("groups.add_somebody")), search, offered, title, list.node);
  return { node, update };
}

const note = (text) => el("li", {}, el("small", {}, text));

function personRow(user, label, run) {
  const press = button(label, run);
  press.setAttribute("aria-label", `${label}: ${user.name}`);
  return el("li", {}, el("span", { class: "row-words" }, el("span", {}, user.name), el("small", {}, t(`people.${user.role}`))), press);
}
