/**
 * Ways in by the word of another site: the button of an OpenID Connect provider, that of a proxy
 * which says who is there, and what the server says when one of them went wrong.
 */
import { api, root } from "./api.js";
import { el } from "./dom.js";
import { t } from "./strings.js";

const alertOf = (error) => [error.message, error.hint].filter(Boolean).join(". ");

/** What went wrong on the way here, if something did; said once, a reload shows the plain page. */
export function takeRefusal() {
  const said = document.getElementById("refusal");
  if (!said) return null;
  history.replaceState(null, "", `${root}sign-in`);
  return el("p", { class: "field-alert", role: "alert" }, alertOf(JSON.parse(said.textContent)));
}

/** The button that leads to the provider, and back to `next`. */
export function byOidc(name, next) {
  const alert = el("p", { class: "field-alert", role: "alert" });
  const button = el("button", { type: "button", class: "entry-other" }, t("entry.by_oidc", { name }));
  button.addEventListener("click", async () => {
    button.disabled = true;
    alert.textContent = "";
    try {
      location.assign((await api.beginOidc(next)).url);
    } catch (error) {
      alert.textContent = alertOf(error);
      button.disabled = false;
    }
  });
  // A page that comes back by the browser's own button is to be of use again.
  addEventListener("pageshow", () => (button.disabled = false));
  return el("div", { class: "entry-way" }, button, alert);
}

/** The button of who is signed in at the proxy already. */
export function byProxy(name, enter) {
  return el("button", { type: "button", class: "field-go", on: { click: enter } }, name ? t("entry.by_proxy", { name }) : t("entry.again"));
}
