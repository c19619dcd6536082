/**
 * What others let one read: the list, and a transcript that can be read and copied, not changed.
 */
import { api } from "./api.js";
import { el, reconcile, setText } from "./dom.js";
import { moment } from "./format.js";
import { MarkdownView } from "./markdown.js";
import { button, makeSheet } from "./sheet.js";
import { t } from "./strings.js";
import { toast, toastError } from "./toast.js";

const EVERY_MS = 3_000;
const RUNNING = new Set(["pending", "streaming"]);

const titleOf = (share) => share.title || t("list.untitled");
const ageOf = (share) => t(share.is_live ? "share.live_since" : "share.as_of", { when: moment(share.created_at) });

/** Show the list; `go` opens a conversation of one's own by id. */
export function showReceived(shares, go) {
  const list = el("ul", { class: "rows" });
  const sheet = makeSheet(t("share.received"), list);
  sheet.classList.add("account");
  const read = (share) => {
    sheet.close();
    showShared(share, shares, go);
  };
  const draw = () => {
    const rows = shares.received.map((share) => {
      const words = el("span", { class: "row-words" }, el("span", {}, titleOf(share)), el("small", {}, [share.owner, ageOf(share)].join(" · ")));
      return el("li", {}, words, button(t("share.read"), () => read(share)));
    });
    list.replaceChildren(...(rows.length ? rows : [el("li", {}, el("small", {}, t("share.none")))]));
  };
  const off = shares.on("change", draw);
  sheet.addEventListener("close", () => (off(), sheet.remove()));
  draw();
  sheet.showModal();
}

/** Show one; it closes when the share ends. `onClose` hears when it is closed. */
export function showShared(share, shares, go, { onClose = null } = {}) {
  const thread = el("div", { class: "shared-thread", role: "log", "aria-live": "off" });
  const age = el("p", { class: "shared-age" });
  const copy = button(t("share.copy"), async () => {
    const { conversation } = await api.copyShared(share.id);
    sheet.addEventListener("close", () => go(conversation.id)); // after who wants the address back
    sheet.close();
    toast(t("share.copied"));
  });
  const sheet = makeSheet(titleOf(share), el("div", { class: "shared-bar" }, age, copy), thread);
  sheet.classList.add("shared");
  const rows = new Map();
  let version = "";
  const draw = ({ share: now, messages, version: drawnVersion }) => {
    version = drawnVersion;
    setText(sheet.querySelector("h2"), titleOf(now));
    const ends = now.expires_at ? t("share.until", { when: moment(now.expires_at) }) : null;
    setText(age, [t("share.by", { name: now.owner }), ageOf(now), ends].filter(Boolean).join(" · "));
    reconcile(thread, messages.map((one) => drawn(rows, one, now.owner)));
  };
  const read = async () => {
    try {
      const now = await api.readShared(share.id, version);
      if (now) draw(now);
    } catch (error) {
      if (error.status !== 404) throw error;
      sheet.close();
      toast(t("share.over"));
    }
  };
  const again = () => document.hidden || read().catch((error) => console.debug(error));
  const timer = share.is_live ? setInterval(again, EVERY_MS) : 0;
  const off = shares.on("change", again);
  sheet.addEventListener("close", () => {
    clearInterval(timer);
    off();
    sheet.remove();
    onClose?.();
  });
  sheet.showModal();
  read().catch(toastError);
}

/** The row of a message, brought up to date. */
function drawn(rows, message, owner) {
  if (!rows.has(message.id)) rows.set(message.id, message.role === "user" ? new Question(owner) : new Answer());
  const row = rows.get(message.id);
  row.set(message);
  return row.node;
}

class Question {
  constructor(owner) {
    this.text = el("div", { class: "shared-text" });
    this.node = el("article", { class: "shared-message", data: { role: "user" }, "aria-label": owner }, el("small", {}, owner), this.text);
  }

  set({ text }) {
    setText(this.text, text);
  }
}

class Answer {
  constructor() {
    this.who = el("small", {});
    this.thought = el("p", { class: "shared-text" });
    this.thinking = el("details", { hidden: true }, el("summary", {}, t("share.thoughts")), this.thought);
    this.markdown = new MarkdownView();
    this.state = el("small", {});
    this.node = el("article", { class: "shared-message", data: { role: "assistant" } }, this.who, this.thinking, this.markdown.node, this.state);
  }

  set({ text, reasoning, model, status }) {
    const running = RUNNING.has(status);
    const name = model || t("chat.assistant");
    setText(this.who, name);
    this.node.setAttribute("aria-label", name);
    this.thinking.hidden = !reasoning;
    setText(this.thought, reasoning);
    this.markdown.set(text, { live: running });
    this.state.hidden = !running && status === "complete";
    setText(this.state, running ? t("list.running") : t("share.ended_early"));
  }
}
