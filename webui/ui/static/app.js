/**
 * The page: makes the parts, joins them, and follows the address bar.
 *
 * Begins by itself as soon as the shell is there; Gradio's mounts call `adopt` later.
 */
import { showAccount } from "./account.js";
import { AdminPage } from "./admin.js";
import { api, root } from "./api.js";
import { Chat } from "./chat.js";
import { takeAim } from "./confirmation.js";
import { Conversations } from "./conversations.js";
import { showDevices } from "./devices.js";
import { drawer } from "./drawer.js";
import { EventStream } from "./events.js";
import { ModelPage } from "./model.js";
import { Models } from "./models.js";
import { showPeople } from "./people.js";
import { showShared } from "./received.js";
import { ServerPromptNote } from "./server_prompt.js";
import { Shares } from "./shares.js";
import { Shell } from "./shell.js";
import { isWriting, showShortcuts, startShortcuts } from "./shortcuts.js";
import { Sidebar } from "./sidebar.js";
import { awaitPage, hasGradio, startGradio } from "./startup.js";
import { t } from "./strings.js";
import { startTheme } from "./theme.js";
import { Transcript } from "./transcript.js";
import { toast, toastError } from "./toast.js";
import { showTrash } from "./trash.js";

const PLACE = "place";

const hrefOf = (id) => (id ? `${root}c/${encodeURIComponent(id)}` : root);
const shareInAddress = () => /\/s\/([\w-]+)\/?$/.exec(location.pathname)?.[1] ?? null;
const idInAddress = () => /\/c\/([\w-]+)\/?$/.exec(location.pathname)?.[1] ?? null;

class App {
  #asked = 0; // how often it was asked who this is
  #answered = 0; // which of those questions was answered last
  stream = new EventStream(api.eventsUrl);
  transcript = new Transcript(this.stream);
  conversations = new Conversations(this.stream);
  models = new Models(this.stream);
  shares = new Shares(this.stream);

  constructor() {
    const toModel = () => this.shell.show("model");
    const toNew = (text) => {
      this.go(null);
      const { composer } = this.chat;
      composer.fill([composer.area.value, text].filter(Boolean).join("\n\n")); // a draft stays
    };
    this.chat = new Chat(this.transcript, this.models, { toModel, toNew });
    this.sidebar = new Sidebar(this.conversations, this.shares, { go: (id) => this.go(id), hrefOf, showShortcuts, showDevices, userMenu: () => this.#userMenu() });
    this.modelPage = new ModelPage(this.models);
    this.adminPage = new AdminPage();
    this.serverPrompt = new ServerPromptNote();
    const { sidebar, chat, modelPage, adminPage, serverPrompt } = this;
    this.shell = new Shell({ sidebar: sidebar.node, chat: chat.node, model: modelPage.node, admin: adminPage.node, server_prompt: serverPrompt.node });
  }

  start() {
    startTheme();
    drawer.start();
    startShortcuts(this.#shortcuts());
    this.#join();
    this.#returnToPlace();
    this.stream.open();
    this.#show(idInAddress());
    this.conversations.load().catch(toastError);
    this.models.load().catch(toastError);
    this.shares.refresh();
    this.#showShared(shareInAddress());
    this.#whoAmI();
    if (hasGradio) startGradio();
    else awaitPage(() => this.#keepPlace()).then(() => this.shell.fail());
  }

  #join() {
    const { transcript } = this;
    this.stream.on("connection", (isConnected) => {
      this.chat.setConnected(isConnected);
      this.#whoAmI(); // a stream says neither that the sign-in was ended nor what was before it began
    });
    this.stream.on("event", ({ event }) => event.type === "me" && this.#whoAmI());
    this.stream.on("reset", () => this.#whoAmI());
    transcript.on("created", (id) => {
      history.pushState({}, "", hrefOf(id));
      this.sidebar.select(id);
      this.chat.composer.keepDraft();
      this.#title();
    });
    transcript.on("failed", (error) => {
      toastError(error);
      if (error.status === 404) this.go(null, { replace: true });
    });
    transcript.on("deleted", () => this.go(null));
    for (const topic of ["structure", "title"]) transcript.on(topic, () => this.#title());
    this.conversations.on("change", () => this.#title());
    window.addEventListener("popstate", () => this.#show(idInAddress()));
  }

  /** Open a conversation, or a new one for null, as a step in the history. */
  go(id, { replace = false } = {}) {
    drawer.leave();
    this.shell.show("chat");
    if (id !== idInAddress()) history[replace ? "replaceState" : "pushState"]({}, "", hrefOf(id));
    this.#show(id);
  }

  #show(id) {
    this.sidebar.select(id);
    if (id === null && this.transcript.id === null) this.chat.composer.focus();
    this.transcript.open(id);
    this.#title();
  }

  /** Open what somebody's link leads to; the address is the page's own again when it is closed. */
  async #showShared(id) {
    if (id === null) return;
    const onClose = () => shareInAddress() && history.replaceState({}, "", root);
    try {
      const { share } = await api.readShared(id);
      showShared(share, this.shares, (own) => this.go(own), { onClose });
    } catch (error) {
      onClose();
      toastError(error);
    }
  }

  #title() {
    const { id, conversation } = this.transcript;
    const title = (this.conversations.get(id) ?? conversation)?.title;
    document.title = id && title ? t("app.title", { title }) : t("app.name");
  }

  /* ---- a page that loads itself anew must not be noticed */

  #keepPlace() {
    const { place } = this.chat.thread;
    if (place !== null) sessionStorage.setItem(PLACE, JSON.stringify({ id: this.transcript.id, place }));
    sessionStorage.setItem("page", this.shell.shown);
  }

  #returnToPlace() {
    const { id, place } = JSON.parse(sessionStorage.getItem(PLACE) ?? "{}");
    const page = sessionStorage.getItem("page");
    sessionStorage.removeItem(PLACE);
    sessionStorage.removeItem("page");
    if (id && id === idInAddress()) this.chat.thread.restore(place);
    if (page) this.shell.show(page);
  }

  /** Ask who this is and what everybody is told; answers may cross. */
  async #whoAmI() {
    const asked = (this.#asked += 1);
    try {
      const me = await api.me();
      if (asked < this.#answered) return;
      this.#answered = asked;
      this.me = me;
      const { user, banner, is_claimed: isClaimed, administrators_read: isRead } = this.me;
      const administers = isClaimed && user.role === "administrator";
      this.sidebar.setUser(user.name, { canShare: isClaimed && user.role !== "guest" && user.permissions.includes("sharing") });
      this.chat.setBanner([isRead && t("app.administrators_read"), banner].filter(Boolean).join(" · "));
      this.adminPage.me = administers ? user : null;
      this.adminPage.setReading(isRead);
      document.body.classList.toggle("administers", administers);
      const aim = takeAim(); // back from where they went to confirm it
      if (aim) showAccount(user, { aim });
      if (!administers && this.adminPage.isSeen) this.shell.show("chat");
    } catch (error) {
      console.debug(error);
    }
  }

  /** What stands behind the name: before there are accounts, the way to the first one. */
  #userMenu() {
    const { user, is_claimed: isClaimed } = this.me ?? {};
    if (!user) return [{ label: t("app.reconnecting"), icon: "retry", run: () => this.#whoAmI() }];
    const trash = { label: t("trash.open"), icon: "delete", run: () => showTrash(this.conversations, (id) => this.go(id)) };
    if (!isClaimed) return [trash, { label: t("account.first"), icon: "people", run: () => location.assign(`${root}first-run`) }];
    const isAdministrator = user.role === "administrator";
    return [
      { label: t("account.own"), icon: "person", run: () => showAccount(user) },
      trash,
      ...(isAdministrator ? [{ label: t("people.title"), icon: "people", run: () => showPeople(user, { canRead: this.adminPage.reads.checked }) }] : []),
      { label: t("account.sign_out"), icon: "sign_out", run: () => api.signOut().then(() => location.assign(`${root}sign-in`), toastError) },
    ];
  }

  #shortcuts() {
    const { sidebar, transcript } = this;
    const { composer, thread } = this.chat;
    const onOpen = (run) => () => (transcript.id === null ? false : run(transcript.id));
    const outsideText = (run) => () => (isWriting() && document.activeElement.value ? false : run());
    const neighbour = (step) => () => {
      const id = sidebar.neighbour(step);
      if (id) this.go(id);
    };
    return {
      "Ctrl+Shift+O": () => this.go(null),
      "Ctrl+K": () => {
        drawer.set(true);
        sidebar.focusFilter();
      },
      "Ctrl+B": () => drawer.set(!drawer.isOpen),
      F2: onOpen((id) => sidebar.rename(id)),
      "Ctrl+Shift+E": onOpen((id) => sidebar.rename(id)),
      "Ctrl+Shift+Backspace": onOpen((id) => sidebar.remove(id)),
      "Ctrl+Shift+ArrowUp": neighbour(-1),
      "Ctrl+Shift+ArrowDown": neighbour(+1),
      "Ctrl+Shift+R": onOpen(() => thread.retryLast()),
      "Alt+ArrowLeft": onOpen(outsideText(() => thread.switchVersion(-1))),
      "Alt+ArrowRight": onOpen(outsideText(() => thread.switchVersion(+1))),
      "Ctrl+Shift+C": onOpen(() => thread.copyLast()),
      "Ctrl+Shift+;": onOpen(() => thread.copyLast({ code: true })),
      "Ctrl+Shift+M": () => this.shell.show("model"),
      "Shift+Escape": () => composer.area.focus(),
      "Ctrl+/": showShortcuts,
      Escape: () => (transcript.busy ? composer.stop() : false),
    };
  }
}

const app = new App();
app.start();
performance.mark("usable"); // what the bench reads

/**
 * Gradio made a mount: move the living part there. `trigger` sends an event to Python.
 * Called by `js_on_load` of the page's gr.HTML components with the name of one of the shell's parts.
 */
export function adopt(name, element, { trigger = null } = {}) {
  const mount = element.querySelector(".mount") ?? element;
  if (name === "model" && trigger) app.modelPage.trigger = trigger;
  app.shell.adopt(name, mount);
}

/** Show a note; for handlers in Python that have something to say. */
export { toast };
