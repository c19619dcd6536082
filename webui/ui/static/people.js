/**
 * The sheet of everybody's accounts, for administrators: adding, roles, passwords, shutting out.
 *
 * A password that the server made up is shown once, to be handed over.
 */
import { api } from "./api.js";
import { copyText, el } from "./dom.js";
import { choice, field, formOf } from "./field.js";
import { moment } from "./format.js";
import { icon } from "./icons.js";
import { limitsOf, limitsOfAll } from "./limits.js";
import { button, makeSheet } from "./sheet.js";
import { t } from "./strings.js";
import { toast, toastError } from "./toast.js";

const ROLES = ["administrator", "user", "guest"];
const LOG_PAGE = 50; // as many as the server tells at once
export const PERMISSIONS = ["chat", "load_models", "download_models", "api_keys", "sharing"];

/** Show the sheet; `me` is the administrator who looks, `closed` is called at the end. */
export function showPeople(me, { canRead = false, closed = () => {} } = {}) {
  const list = el("ul", { class: "rows" });
  const given = el("div", { class: "given", role: "status" });
  const log = el("ol", { class: "log" });
  const draw = () => drawPeople(list, { me, canRead, draw, give: (name, password) => give(given, name, password) });
  const history = el("details", {}, el("summary", {}, t("people.log")), log);
  history.addEventListener("toggle", () => history.open && drawLog(log).catch(toastError));
  const sheet = makeSheet(t("people.title"), el("div", {}, list, given, adding(draw, given), limitsOfAll(), history));
  sheet.classList.add("account");
  sheet.addEventListener("close", () => (sheet.remove(), closed()));
  sheet.showModal();
  draw().catch(toastError);
}

/** Say a password that nobody can read again. */
function give(place, name, password) {
  const copy = { type: "button", class: "icon-button", "aria-label": t("people.copy_password"), on: { click: () => copyText(password).then(() => toast(t("chat.copied"))) } };
  place.replaceChildren(el("p", {}, t("people.password_of", { name })), el("p", { class: "given-password" }, el("code", {}, password), el("button", copy, icon("copy"))), el("p", {}, t("people.password_once")));
  place.scrollIntoView({ block: "nearest" });
}

function adding(draw, given) {
  const fields = [
    field("name", { label: t("field.name"), autocomplete: "off", autocapitalize: "none", spellcheck: "false" }),
    choice("role", { label: t("people.role"), choices: ROLES.map((role) => [role, t(`people.${role}`)]), value: "user" }),
  ];
  api.defaults().then(({ defaults }) => (fields[1].input.value = defaults.role), toastError);
  const done = async ({ user, password }) => {
    fields[0].input.value = "";
    give(given, user.name, password);
    await draw().catch(toastError);
  };
  return el("section", {}, el("h3", {}, t("people.add")), formOf({ fields, action: t("people.add"), send: api.addUser, done }));
}

async function drawPeople(list, acts) {
  const { users } = await api.users();
  const open = list.querySelector("details[open]")?.dataset.id;
  list.replaceChildren(...users.map((user) => personRow(user, acts)));
  for (const one of list.querySelectorAll("details")) one.open = one.dataset.id === open;
}

/** One person: a line that opens to what can be done. */
function personRow(user, { me, canRead, draw, give: handOver }) {
  const words = [t(`people.${user.role}`), user.is_disabled && t("people.disabled"), user.id === me.id && t("people.you")].filter(Boolean).join(" · ");
  const change = (what) => api.changeUser(user.id, what).then(draw, async (error) => (await draw(), toastError(error)));
  const acts = el("div", { class: "acts" }, roleOf(user, change));
  if (user.role !== "administrator") acts.append(permissionsOf(user, change));
  if (user.id !== me.id) acts.append(keysOf(user));
  if (user.linked_to.length) acts.append(el("p", {}, t("people.linked", { issuers: user.linked_to.join(", ") })));
  acts.append(limitsOf(user));
  if (user.id !== me.id) {
    const reset = () => api.resetPassword(user.id, unlinking(user)).then(async ({ password }) => (handOver(user.name, password), draw()));
    const remove = () => (window.confirm(t("people.delete_sure", { name: user.name })) ? api.deleteUser(user.id).then(draw) : null);
    const shut = () => change({ is_disabled: !user.is_disabled });
    const read = canRead ? button(t("people.read"), () => showChats(user)) : null;
    acts.append(
      el("div", { class: "act-buttons" }, read, button(t("people.reset"), reset), button(t(user.is_disabled ? "people.enable" : "people.disable"), shut), button(t("people.delete"), remove, { danger: true })),
    );
  }
  const row = el("li", { class: user.is_disabled ? "off" : "" }, el("details", { data: { id: user.id } }, el("summary", {}, el("span", { class: "row-words" }, el("span", {}, user.name), el("small", {}, words))), acts));
  return row;
}

/** Whether a new password ends links too: asked where they have been the only way in. */
function unlinking({ name, has_password: has, linked_to: issuers }) {
  if (has || !issuers.length) return {};
  return { unlinks: window.confirm(t("people.unlink_too", { name, issuers: issuers.join(", ") })) };
}

function roleOf(user, change) {
  const role = choice("role", { label: t("people.role"), choices: ROLES.map((one) => [one, t(`people.${one}`)]), value: user.role });
  role.input.addEventListener("change", () => {
    if (role.input.value !== "guest") return change({ role: role.input.value });
    // Said before it is sent: what a guest has goes for good, and a select is soon slipped on.
    if (window.confirm(t("people.guest_sure", { name: user.name }))) return change({ role: "guest", empties: true });
    role.input.value = user.role;
  });
  return role.node;
}

function permissionsOf(user, change) {
  const may = new Set(user.permissions);
  const boxes = PERMISSIONS.map((value) => el("input", { type: "checkbox", value, checked: may.has(value) }));
  const chosen = () => boxes.filter((box) => box.checked).map((box) => box.value);
  for (const box of boxes) box.addEventListener("change", () => change({ permissions: chosen() }));
  const labels = boxes.map((box) => el("label", {}, box, t(`people.${box.value}`)));
  const own = user.has_own_permissions;
  const reset = own ? button(t("people.may_reset"), () => change({ permissions: null })) : null;
  return el("div", {}, el("fieldset", {}, el("legend", {}, t("people.may")), ...labels), el("p", {}, t(own ? "people.may_own" : "people.may_as_others")), reset);
}

/** Somebody's chats, to be looked at; each look is written down by the server. */
async function showChats(user) {
  const list = el("div", { class: "chats" });
  const sheet = makeSheet(t("people.chats_of", { name: user.name }), el("p", {}, t("people.read_note")), list);
  sheet.classList.add("account");
  sheet.addEventListener("close", () => sheet.remove());
  sheet.showModal();
  const more = async (before) => {
    const { conversations, next } = await api.chatsOf(user.id, before);
    list.append(...conversations.map((one) => chatRow(user, one)));
    if (next) list.append(button(t("people.more_chats"), () => (list.lastChild.remove(), more(next))));
    if (!list.childElementCount) list.append(el("p", {}, t("people.no_chats")));
  };
  await more(null);
}

function chatRow(user, { id, title, updated_at: at }) {
  const text = el("div", { class: "chat-text" });
  const row = el("details", {}, el("summary", {}, el("span", {}, title || t("list.untitled")), " ", el("small", {}, moment(at))), text);
  const read = async () => {
    const { messages } = await api.chatOf(user.id, id);
    text.replaceChildren(...messages.map((one) => el("p", {}, el("b", {}, one.role === "user" ? user.name : (one.model ?? one.role)), ": ", one.text)));
  };
  row.addEventListener("toggle", () => row.open && !text.childElementCount && read().catch(toastError));
  return row;
}

/** The API keys of somebody, asked for when they are wanted. */
function keysOf(user) {
  const list = el("ul", { class: "rows" });
  const draw = async () => {
    const { keys } = await api.keysOf(user.id);
    const rows = keys.map((key) => {
      const words = el("div", { class: "row-words" }, el("span", {}, key.name), el("small", {}, t("keys.begins", { prefix: key.prefix })));
      return el("li", {}, words, button(t("keys.revoke"), () => (window.confirm(t("keys.revoke_sure", { name: key.name })) ? api.deleteKeyOf(user.id, key.id).then(draw) : null)));
    });
    list.replaceChildren(...(rows.length ? rows : [el("li", {}, el("small", {}, t("keys.none")))]));
  };
  return el("div", {}, button(t("keys.title"), draw), list);
}

/** Who did something; the machine's own command line looks like nobody's name. */
const actor = ({ actor_kind: kind, actor_name: name }) => (kind === "person" ? el("b", {}, name) : el("kbd", {}, t(`people.${kind}`)));

/** The newest of the log; what is older comes when it is wanted. */
async function drawLog(log, before = null) {
  const { entries } = await api.audit(before);
  if (before === null) log.replaceChildren();
  log.append(
    ...entries.map((entry) => el("li", {}, el("time", {}, moment(entry.at)), " ", actor(entry), " ", [entry.action, entry.about].filter(Boolean).join(": "), entry.address ? el("small", {}, ` ${entry.address}`) : null)),
  );
  if (entries.length < LOG_PAGE) return;
  const more = el("li", {}, button(t("people.more_log"), () => drawLog(log, entries.at(-1).position).then(() => more.remove())));
  log.append(more);
}
