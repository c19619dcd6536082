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
import { byOidc, byProxy, takeRefusal } from "./vouched.js";
import { t } from "./strings.js";
import { hasPasskeys, usePasskey } from "./webauthn.js";

const NEXT = /^\/[cs]\/[\w-]{1,64}$/;
const place = document.getElementById("entry");
const refusal = takeRefusal();

/** Where the reader wanted to go; never another site. */
function wanted() {
  const next = new URLSearchParams(location.search).get("next") ?? "";
  return NEXT.test(next) ? next : "/";
}

function enter() {
  location.replace(root + wanted().slice(1));
}

/** Draw what another site made go wrong, where there is no form, and the way on. */
function drawAlone(refusal, way) {
  place.replaceChildren(el("div", { class: "entry-brand" }, brandMark(), el("span", {}, t("app.name"))), el("h1", {}, t("entry.sign_in")), refusal ?? "", way);
  document.title = t("app.title", { title: t("entry.sign_in") });
  way.focus();
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

function signIn({ oidc }, refusal) {
  draw({
    title: t("entry.sign_in"),
    fields: [
      field("name", { label: t("field.name"), autocomplete: "username", autocapitalize: "none", spellcheck: "false" }),
      field("password", { label: t("entry.password"), type: "password", autocomplete: "current-password" }),
    ],
    action: t("entry.sign_in"),
    send: api.signIn,
    foot: el("div", {}, ...otherWays(oidc), el("p", { class: "entry-foot" }, t("entry.forgotten"))),
  });
  if (refusal) place.querySelector("h1").after(refusal);
}

/** What opens without a password here, below a line that says so. */
function otherWays(oidc) {
  const ways = [hasPasskeys() && byPasskey(), oidc && byOidc(oidc, wanted())].filter(Boolean);
  return ways.length ? [el("p", { class: "entry-or" }, t("entry.or")), ...ways] : [];
}

/** Signing in by a passkey: neither name nor password is written. */
function byPasskey() {
  const send = async () => api.signInByPasskey(await usePasskey((await api.passkeySignInOptions()).options));
  const alert = el("p", { class: "field-alert", role: "alert" });
  const button = el("button", { type: "button", class: "entry-other" }, t("entry.use_passkey"));
  button.addEventListener("click", async () => {
    if (button.disabled) return;
    button.disabled = true;
    alert.textContent = "";
    try {
      await send();
      enter();
    } catch (error) {
      alert.textContent = [error.message, error.hint].filter(Boolean).join(". ");
      button.disabled = false;
      button.focus();
    }
  });
  return el("div", { class: "entry-way" }, button, alert);
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
  const { user, is_claimed: isClaimed, proxy_user: vouched } = session;
  if (user?.must_change_password) changePassword(user);
  else if (!isClaimed) firstRun();
  else if (vouched !== null && !user) drawAlone(refusal, byProxy(vouched, enter));
  else if (user && refusal) drawAlone(refusal, el("button", { type: "button", class: "field-go", on: { click: enter } }, t("entry.go_on")));
  else if (user) enter();
  else signIn(session, refusal);
}

begin();
