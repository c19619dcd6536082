/**
 * The page before the page: signing in, making the first administrator, changing a password that
 * somebody else chose. Which of them it is, the server says.
 *
 * Knows the routes of accounts; nothing of chats.
 */
import { api, root } from "./api.js";
import { el } from "./dom.js";
import { field, formOf } from "./field.js";
import { brandMark } from "./icons.js";
import { t } from "./strings.js";

const NEXT = /^\/[cs]\/[\w-]{1,64}$/;
const place = document.getElementById("entry");

/** Go where the reader wanted to; never to another site. */
function enter() {
  const next = new URLSearchParams(location.search).get("next") ?? "";
  location.replace(root + (NEXT.test(next) ? next.slice(1) : ""));
}

/** Draw one form, which is followed by the page itself. */
function draw({ title, text, foot = null, ...form }) {
  place.replaceChildren(
    el("div", { class: "entry-brand" }, brandMark(), el("span", {}, t("app.name"))),
    el("h1", {}, title),
    text ? el("p", { class: "entry-text" }, text) : "",
    formOf({ ...form, done: enter }),
    foot ?? "",
  );
  document.title = t("app.title", { title });
  (form.fields.find(({ input }) => !input.value) ?? form.fields[0]).input.focus();
}

function signIn() {
  draw({
    title: t("entry.sign_in"),
    fields: [
      field("name", { label: t("field.name"), autocomplete: "username", autocapitalize: "none", spellcheck: "false" }),
      field("password", { label: t("entry.password"), type: "password", autocomplete: "current-password" }),
    ],
    action: t("entry.sign_in"),
    send: api.signIn,
    foot: el("p", { class: "entry-foot" }, t("entry.forgotten")),
  });
}

function firstRun() {
  const code = decodeURIComponent(location.hash.slice(1));
  draw({
    title: t("entry.first_run"),
    text: t("entry.first_run_text"),
    fields: [
      field("code", { label: t("entry.code"), value: code, hint: t("entry.code_hint"), autocomplete: "off", autocapitalize: "characters", spellcheck: "false" }),
      field("name", { label: t("entry.your_name"), autocomplete: "username", autocapitalize: "none", spellcheck: "false" }),
      field("password", { label: t("entry.password"), type: "password", hint: t("field.password_hint"), autocomplete: "new-password" }),
    ],
    action: t("entry.make_account"),
    send: api.claim,
  });
}

function changePassword({ name }) {
  const out = el("button", { type: "button", class: "entry-link" }, t("entry.sign_out"));
  out.addEventListener("click", () => api.signOut().finally(() => location.reload()));
  draw({
    title: t("entry.new_password_title"),
    text: t("entry.new_password_text", { name }),
    fields: [
      field("old", { label: t("entry.password_given"), type: "password", autocomplete: "current-password" }),
      field("new", { label: t("entry.new_password"), type: "password", hint: t("field.password_hint"), autocomplete: "new-password" }),
    ],
    action: t("entry.change_password"),
    send: api.changePassword,
    foot: el("p", { class: "entry-foot" }, out),
  });
}

/** Ask how things stand; a server that cannot be reached is asked again. */
async function begin() {
  let session;
  try {
    session = await api.session();
  } catch (error) {
    const again = el("button", { type: "button", class: "field-go" }, t("entry.again"));
    again.addEventListener("click", begin);
    place.replaceChildren(el("p", { class: "field-alert", role: "alert" }, `${error.message}. ${error.hint}`), again);
    return;
  }
  const { user, is_claimed: isClaimed } = session;
  if (user?.must_change_password) changePassword(user);
  else if (!isClaimed) firstRun();
  else if (user) enter();
  else signIn();
}

begin();
