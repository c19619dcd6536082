/**
 * Confirming what has no way back, for who has no password: parts of a sheet that wait for it, with
 * what the reader has for it in their place: a passkey, the provider, or their own name.
 *
 * Knows the routes of confirming; what is confirmed, a part's own `draw` says.
 */
import { api, root } from "./api.js";
import { el } from "./dom.js";
import { button } from "./sheet.js";
import { t } from "./strings.js";
import { toastError } from "./toast.js";
import { hasPasskeys, usePasskey } from "./webauthn.js";

const AIM = "confirming";
const SETTLES_MS = 2_000;

/** For what the reader went to the provider, if this page is where they come back; said once. */
export function takeAim() {
  const aim = sessionStorage.getItem(AIM);
  sessionStorage.removeItem(AIM);
  return aim;
}

export class Confirmation {
  #parts = [];
  #asked = null;
  #found = null;

  /** `aim` names the part that is to be seen first; `renewed` hears of another sign-in in this one's place. */
  constructor({ aim, renewed }) {
    this.aim = aim;
    this.renewed = renewed;
  }

  /**
   * A part: what `draw` makes once it is confirmed, `byName` where the reader's name will do, and
   * the words of `otherwise` where they have nothing to confirm by.
   */
  part(aim, { draw, otherwise, byName = null }) {
    const part = { aim, place: el("div", {}), draw, otherwise, byName };
    this.#parts.push(part);
    if (this.#found) this.#draw(part);
    this.#asked ??= this.look().catch(toastError);
    return part.place;
  }

  /** Ask how it stands, and draw all parts anew. */
  async look() {
    this.#found = await api.confirmation();
    for (const part of this.#parts) this.#draw(part);
  }

  #draw({ aim, place, draw, otherwise, byName }) {
    const { by, is_confirmed: isConfirmed } = this.#found.confirmation;
    if (isConfirmed) place.replaceChildren(draw());
    else if (by.includes("name") && byName) place.replaceChildren(byName());
    else place.replaceChildren(...this.#ways(aim, by, otherwise));
    if (aim !== this.aim) return;
    this.aim = null;
    requestAnimationFrame(() => {
      if (!place.isConnected) return; // the sheet was closed meanwhile
      keepInView(place);
      place.querySelector("input:not([hidden]), button")?.focus({ preventScroll: true });
    });
  }

  #ways(aim, by, otherwise) {
    const ways = [
      by.includes("passkey") && hasPasskeys() && button(t("entry.use_passkey"), () => this.#byPasskey(aim)),
      by.includes("provider") && button(t("confirm.provider", { name: this.#found.provider }), () => goThere(aim)),
    ].filter(Boolean);
    return [el("p", {}, ways.length ? t("confirm.text") : otherwise), ...ways];
  }

  async #byPasskey(aim) {
    await api.confirmByPasskey(await usePasskey((await api.confirmationOptions()).options));
    this.renewed();
    this.aim = aim;
    await this.look();
  }
}

/** Show a part, and go on showing it while what stands above it is still fetched. */
function keepInView(place) {
  const watch = new ResizeObserver(() => place.scrollIntoView({ block: "center" }));
  watch.observe(place.closest(".sheet > div"));
  setTimeout(() => watch.disconnect(), SETTLES_MS);
}

/** Leave for the provider; the page that is open now is the one that its reader comes back to. */
async function goThere(aim) {
  const { url } = await api.beginConfirmation(`/${location.pathname.slice(root.length)}`);
  sessionStorage.setItem(AIM, aim);
  location.assign(url);
}
