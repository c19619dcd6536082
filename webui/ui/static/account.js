/**
 * The sheet of one's own account: where one is signed in, API keys, the password, the end of it.
 */
import { api, root } from "./api.js";
import { Confirmation } from "./confirmation.js";
import { el } from "./dom.js";
import { field, formOf } from "./field.js";
import { moment } from "./format.js";
import { keysSection } from "./keys.js";
import { linkSection } from "./link.js";
import { passkeysSection } from "./passkeys.js";
import { button, makeSheet, section } from "./sheet.js";
import { aboutSignIn } from "./signed_in.js";
import { t } from "./strings.js";
import { toast, toastError } from "./toast.js";

const leave = () => location.assign(`${root}sign-in`);

/** Show the sheet; `user` is who is signed in, `aim` for what they just confirmed that it is them. */
export function showAccount(user, { aim = null } = {}) {
  const list = el("ul", { class: "rows" });
  const confirmation = new Confirmation({ aim, renewed: () => drawSessions(list).catch(toastError) });
  const parts = el(
    "div",
    {},
    section(t("account.sessions"), list, button(t("account.everywhere"), () => api.signOutEverywhere().then(leave))),
    keysSection(user),
    section(t("account.password"), ...(user.has_password ? [passwordForm(user)] : firstPassword(user, confirmation))),
    linkSection(confirmation),
    user.role === "guest" ? "" : passkeysSection(user, confirmation),
    section(t("account.export"), el("p", {}, t("account.export_text"), " ", el("a", { href: `${root}api/me/export`, download: true }, t("account.export_now")))),
    section(t("account.delete"), el("p", {}, t("account.delete_text")), user.has_password ? deletion() : deletionWithout(user, confirmation)),
  );
  const sheet = makeSheet(t("account.title", { name: user.name }), parts);
  sheet.classList.add("account");
  sheet.addEventListener("close", () => sheet.remove());
  sheet.showModal();
  drawSessions(list).catch(toastError);
}

async function drawSessions(list) {
  const { sessions } = await api.sessions();
  const rows = sessions.map((session) => {
    const last = session.is_current ? t("account.this_one") : t("account.last_used", { when: moment(session.last_used_at) });
    const words = el("div", { class: "row-words" }, el("span", {}, session.device || t("account.some_device")), el("small", {}, aboutSignIn(session)), el("small", {}, last));
    const end = button(t("account.end"), () => api.endSession(session.id).then(() => (session.is_current ? leave() : drawSessions(list))));
    return el("li", {}, words, end);
  });
  list.replaceChildren(...rows);
}

const newPassword = () => field("new", { label: t("account.new_password"), type: "password", hint: t("field.password_hint"), autocomplete: "new-password" });

/** Whose it is, for password stores. */
function nameOf(user) {
  const who = el("input", { type: "text", autocomplete: "username", hidden: true });
  who.value = user.name;
  return who;
}

function passwordForm(user) {
  const fields = [field("old", { label: t("account.old_password"), type: "password", autocomplete: "current-password" }), newPassword()];
  const done = () => {
    for (const { input } of fields) input.value = "";
    toast(t("account.password_changed"));
  };
  const form = formOf({ fields, action: t("account.change_password"), send: api.changePassword, done });
  form.prepend(nameOf(user));
  return form;
}

function firstPassword(user, confirmation) {
  const draw = () => {
    const form = formOf({ fields: [newPassword()], action: t("account.take_password"), send: api.changePassword, done: () => location.reload() });
    form.prepend(nameOf(user));
    return form;
  };
  return [el("p", {}, t("account.no_password")), confirmation.part("password", { draw, otherwise: t("account.ask_for_one") })];
}

/** A form that stands behind a button; pressing it shows the form. */
function behind(fields, send) {
  const form = formOf({ fields, action: t("account.delete_now"), send, done: leave, danger: true });
  const place = el("div", {});
  place.append(button(t("account.delete_open"), () => (place.replaceChildren(form), fields[0].input.focus()), { danger: true }));
  return place;
}

const deletion = () => behind([field("password", { label: t("account.old_password"), type: "password", autocomplete: "current-password" })], api.deleteMe);

function deletionWithout({ name }, confirmation) {
  const gone = () => button(t("account.delete_now"), () => api.deleteMe().then(leave), { danger: true });
  const draw = () => {
    const place = el("div", {});
    place.append(button(t("account.delete_open"), () => place.replaceChildren(gone()), { danger: true }));
    return place;
  };
  const byName = () => behind([field("name", { label: t("confirm.name", { name }), autocomplete: "off" })], api.deleteMe);
  return confirmation.part("delete", { draw, byName, otherwise: t("account.delete_no_password") });
}
