/**
 * The sheet of one's own account: where one is signed in, API keys, the password, the end of it.
 */
import { api, root } from "./api.js";
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

/** Show the sheet; `user` is who is signed in. */
export function showAccount(user) {
  const list = el("ul", { class: "rows" });
  const parts = el(
    "div",
    {},
    section(t("account.sessions"), list, button(t("account.everywhere"), () => api.signOutEverywhere().then(leave))),
    keysSection(user),
    section(t("account.password"), user.has_password ? passwordForm(user) : el("p", {}, t("account.no_password"))),
    linkSection(),
    user.role === "guest" ? "" : passkeysSection(user),
    section(t("account.export"), el("p", {}, t("account.export_text"), " ", el("a", { href: `${root}api/me/export`, download: true }, t("account.export_now")))),
    section(t("account.delete"), el("p", {}, t("account.delete_text")), user.has_password ? deletion() : el("p", {}, t("account.delete_no_password"))),
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

function passwordForm(user) {
  const who = el("input", { type: "text", autocomplete: "username", hidden: true });
  who.value = user.name; // for password stores
  const fields = [
    field("old", { label: t("account.old_password"), type: "password", autocomplete: "current-password" }),
    field("new", { label: t("account.new_password"), type: "password", hint: t("field.password_hint"), autocomplete: "new-password" }),
  ];
  const done = () => {
    for (const { input } of fields) input.value = "";
    toast(t("account.password_changed"));
  };
  const form = formOf({ fields, action: t("account.change_password"), send: api.changePassword, done });
  form.prepend(who);
  return form;
}

function deletion() {
  const fields = [field("password", { label: t("account.old_password"), type: "password", autocomplete: "current-password" })];
  const form = formOf({ fields, action: t("account.delete_now"), send: ({ password }) => api.deleteMe(password), done: leave, danger: true });
  const place = el("div", {});
  place.append(button(t("account.delete_open"), () => (place.replaceChildren(form), fields[0].input.focus()), { danger: true }));
  return place;
}
