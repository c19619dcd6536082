/**
 * The Admin tab: who runs and waits, who is signed in, people, groups and limits, the disk, backups,
 * what the model is told, the line that everybody sees, the log.
 *
 * Asks while it is on the screen, and draws what the server says; shows no text of any chat.
 */
import { api } from "./api.js";
import { el, setText } from "./dom.js";
import { field, formOf } from "./field.js";
import { bytes, duration, integer, moment } from "./format.js";
import { GroupsSection } from "./groups.js";
import { LongList } from "./long_list.js";
import { showPeople } from "./people.js";
import { QuotasSection } from "./quotas.js";
import { ServerPromptSection } from "./server_prompt.js";
import { button } from "./sheet.js";
import { SignedInSection } from "./signed_in.js";
import { t } from "./strings.js";
import { toast, toastError } from "./toast.js";

const ASK_EVERY_MS = 3_000;
const STORED = ["database", "backups", "states", "models", "free"];

export class AdminPage {
  #timer = 0;
  #me = null;
  isSeen = false;

  constructor() {
    this.running = el("tbody");
    this.nobody = el("p", { class: "admin-none" }, t("admin.nobody"));
    this.disk = el("dl", { class: "admin-figures" });
    this.about = el("dl", { class: "admin-figures" });
    this.backups = el("ul", { class: "rows" });
    this.log = el("pre", { class: "admin-log", tabindex: "0", "aria-label": t("admin.log") });
    this.banner = field("banner", { label: t("admin.banner"), hint: t("admin.banner_hint"), required: false, maxlength: "500" });
    this.quotas = new QuotasSection();
    this.serverPrompt = new ServerPromptSection();
    this.signedIn = new SignedInSection();
    this.groups = new GroupsSection({ changed: () => this.quotas.load().catch(toastError) });
    this.node = el("div", { class: "admin account" }, el("h1", {}, t("admin.title")), ...this.#sections());
    new IntersectionObserver(([seen]) => {
      this.isSeen = seen.isIntersecting;
      this.#look();
    }).observe(this.node);
  }

  /** Who looks, where it is an administrator; else null. */
  set me(me) {
    const isOther = this.#me?.id !== me?.id;
    this.#me = me;
    if (isOther) this.#look();
  }

  /** What is shown of people: asked for when somebody looks, and when something changed it. */
  #askPeople() {
    const parts = [this.signedIn.load(), this.groups.load(), this.quotas.load()];
    return Promise.all(parts).catch(toastError);
  }

  #openPeople() {
    if (this.#me) showPeople(this.#me, { canRead: this.reads.checked, closed: () => this.#askPeople() });
  }

  #sections() {
    const head = ["who", "doing", "tokens", "since"].map((name) => el("th", { scope: "col" }, t(`admin.${name}`)));
    const table = el("div", { class: "admin-scroll" }, el("table", {}, el("thead", {}, el("tr", {}, head)), this.running));
    const backUp = () => api.backUp().then(() => (toast(t("admin.backed_up")), this.#ask()));
    const told = ({ banner }) => toast(t(banner ? "admin.banner_shown" : "admin.banner_gone"));
    return [
      section("admin.now", table, this.nobody),
      this.signedIn.node,
      section("people.title", el("p", {}, t("admin.people")), button(t("admin.people_open"), () => this.#openPeople())),
      this.groups.node,
      this.quotas.node,
      this.serverPrompt.node,
      section("admin.backups", this.backups, button(t("admin.back_up"), backUp)),
      section("admin.everybody", formOf({ fields: [this.banner], action: t("admin.banner_save"), send: api.setBanner, done: told })),
      section("admin.read_chats", el("p", {}, t("admin.reading_text")), this.#reading()),
      section("admin.disk", this.disk, this.#texts()),
      section("admin.about", this.about),
      section("admin.log", this.log, button(t("admin.log_again"), () => this.#askLog())),
    ];
  }

  /** Who has how much text, counted when somebody asks: all of it is read for that. */
  #texts() {
    const row = (person) => ({ node: el("li", {}, el("span", { class: "row-words" }, person.name), el("small", {}, bytes(person.text_bytes))), update: () => {} });
    const show = async () => {
      const list = new LongList({ row, filter: t("quotas.filter"), none: t("admin.no_texts") });
      const { people } = await api.storedTexts();
      list.show(people.map((one) => ({ ...one, id: one.user_id, name: one.user })));
      place.replaceChildren(el("h4", {}, t("admin.texts")), list.node, button(t("admin.texts_again"), show));
    };
    const place = el("div", { class: "admin-texts" }, button(t("admin.texts_open"), show));
    return place;
  }

  #reading() {
    this.reads = el("input", { type: "checkbox" });
    this.reads.addEventListener("change", async () => {
      const isOn = this.reads.checked;
      await api.setReading(isOn).catch((error) => ((this.reads.checked = !isOn), toastError(error)));
    });
    return el("fieldset", {}, el("label", {}, this.reads, t("admin.reading_on")));
  }

  /** Whether administrators may read chats. */
  setReading(isOn) {
    this.reads.checked = isOn;
  }

  /** Ask while somebody looks who may. */
  #look() {
    clearInterval(this.#timer);
    if (!this.isSeen || !this.#me) return;
    this.#timer = setInterval(() => document.hidden || this.#ask(), ASK_EVERY_MS);
    this.#ask();
    this.#askPeople();
    this.serverPrompt.load().catch(toastError);
    this.#askLog().catch(toastError);
  }

  async #ask() {
    try {
      this.#draw((await api.server()).server);
    } catch (error) {
      console.debug(error);
    }
  }

  async #askLog() {
    const { lines } = await api.log();
    const atEnd = this.log.scrollTop + this.log.clientHeight >= this.log.scrollHeight - 4;
    setText(this.log, lines.join("\n") || t("admin.log_empty"));
    if (atEnd) this.log.scrollTop = this.log.scrollHeight;
  }

  #draw(server) {
    this.nobody.hidden = server.running.length > 0;
    this.running.closest("table").hidden = server.running.length === 0;
    this.running.replaceChildren(
      ...server.running.map((one) => {
        const doing = t(`admin.${one.doing}`) + (one.is_api ? ` ${t(`admin.api_${one.task}`)}` : "");
        return el("tr", {}, ...[one.name, doing, integer(one.num_tokens), duration(one.since_s)].map((text) => el("td", {}, text)));
      }),
    );
    figures(this.disk, STORED.map((name) => [t(`admin.${name}`), bytes(server.storage[`${name}_bytes`])]));
    figures(this.about, [
      [t("admin.version"), server.version],
      [t("admin.system"), `${server.system}, Python ${server.python}`],
      [t("admin.started"), moment(server.started_at)],
      [t("admin.folder"), server.data_dir],
      [t("admin.accounts"), integer(server.num_users)],
    ]);
    this.backups.replaceChildren(
      ...server.backups.map((one) => el("li", {}, el("div", { class: "row-words" }, el("span", {}, moment(one.made_at)), el("small", {}, `${one.name} · ${bytes(one.num_bytes)}`)))),
    );
    if (document.activeElement !== this.banner.input) this.banner.input.value = server.banner;
  }
}

const section = (title, ...content) => el("section", {}, el("h3", {}, t(title)), ...content);

function figures(list, pairs) {
  list.replaceChildren(...pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}
