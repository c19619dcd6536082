/**
 * The server's HTTP routes as functions.
 *
 * Knows addresses and the shape of errors; knows no state and no DOM.
 */
import { t } from "./strings.js";

/** The path the site lives under, with a slash at its end; the page's base says it. */
export const root = new URL("./", document.baseURI).pathname;

/** An answer that is not the one asked for; `message` and `hint` are for people. */
export class ApiError extends Error {
  constructor(status, { code = "unknown", message, hint = "", field = null }) {
    super(message);
    this.status = status;
    this.code = code;
    this.hint = hint;
    this.field = field;
  }
}

/** The sign-in was ended, here or elsewhere: the way back leads to where the reader was. */
function toSignIn() {
  const here = location.pathname.slice(root.length - 1);
  if (here !== "/sign-in" && here !== "/first-run") location.assign(`${root}sign-in?next=${encodeURIComponent(here)}`);
}

async function call(method, path, body, signal) {
  let response;
  try {
    response = await fetch(root + path, {
      method,
      signal,
      credentials: "same-origin",
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { code: "offline", message: t("app.offline"), hint: t("app.offline_hint") });
  }
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => null);
  if (response.ok) return answer;
  if (answer?.error?.code === "not_authenticated" || answer?.error?.code === "password_change_required") toSignIn();
  throw new ApiError(response.status, answer?.error ?? { message: t("app.server_error", { status: response.status }) });
}

const path = (...parts) => parts.map(encodeURIComponent).join("/");
const get = (address, signal) => call("GET", address, undefined, signal);
const post = (address, body = {}) => call("POST", address, body);

export const api = {
  health: () => get("health"),
  session: () => get("api/session"),
  signIn: (who) => post("api/session", who),
  signOut: () => call("DELETE", "api/session"),
  claim: (first) => post("api/first-run", first),
  me: () => get("api/me"),
  changePassword: (passwords) => call("PUT", "api/me/password", passwords),
  deleteMe: (proof = {}) => call("DELETE", "api/me", proof),
  confirmation: () => get("api/confirmation"),
  beginConfirmation: (next) => post("api/confirmation/provider", { next }),
  confirmationOptions: () => post("api/confirmation/passkey/options"),
  confirmByPasskey: (used) => post("api/confirmation/passkey", used),
  sessions: () => get("api/sessions"),
  endSession: (id) => call("DELETE", path("api", "sessions", id)),
  signOutEverywhere: () => call("DELETE", "api/sessions"),
  beginOidc: (next) => post("api/oidc", { next }),
  oidcLink: () => get("api/oidc/link"),
  linkOidc: (password) => post("api/oidc/link", password),
  unlinkOidc: () => call("DELETE", "api/oidc/link"),
  passkeys: () => get("api/passkeys"),
  passkeyOptions: (wanted) => post("api/passkeys/options", wanted),
  addPasskey: (made) => post("api/passkeys", made),
  renamePasskey: (id, name) => call("PATCH", path("api", "passkeys", id), { name }),
  deletePasskey: (id) => call("DELETE", path("api", "passkeys", id)),
  passkeySignInOptions: () => post("api/session/passkey/options"),
  signInByPasskey: (used) => post("api/session/passkey", used),
  keys: () => get("api/keys"),
  makeKey: (key) => post("api/keys", key),
  deleteKey: (id) => call("DELETE", path("api", "keys", id)),
  keysOf: (userId) => get(path("api", "users", userId, "keys")),
  deleteKeyOf: (userId, id) => call("DELETE", path("api", "users", userId, "keys", id)),
  signedIn: () => get("api/admin/sessions"),
  endSessionsOf: (userId) => call("DELETE", path("api", "users", userId, "sessions")),
  endSessionOf: (userId, id) => call("DELETE", path("api", "users", userId, "sessions", id)),
  storedTexts: () => get("api/admin/storage"),
  users: () => get("api/users"),
  addUser: (user) => post("api/users", user),
  changeUser: (id, change) => call("PATCH", path("api", "users", id), change),
  resetPassword: (id, wanted) => post(path("api", "users", id, "password"), wanted),
  deleteUser: (id) => call("DELETE", path("api", "users", id)),
  server: () => get("api/admin"),
  log: (lines = 200) => get(`api/admin/log?lines=${lines}`),
  backUp: () => post("api/admin/backups"),
  setReading: (isOn) => call("PUT", "api/admin/reading", { is_on: isOn }),
  chatsOf: (userId, before = null) => get(`${path("api", "users", userId, "conversations")}${before ? `?before=${encodeURIComponent(before)}` : ""}`),
  chatOf: (userId, id) => get(path("api", "users", userId, "conversations", id)),
  setBanner: ({ banner }) => call("PUT", "api/admin/banner", { banner }),
  serverPrompt: () => get("api/server-prompt"),
  setServerPrompt: (text) => call("PUT", "api/server-prompt", { server_prompt: text }),
  limits: () => get("api/limits"),
  setLimits: (limits) => call("PUT", "api/limits", { limits }),
  limitsOf: (id) => get(path("api", "users", id, "limits")),
  setLimitsOf: (id, limits) => call("PUT", path("api", "users", id, "limits"), { limits }),
  allLimits: () => get("api/limits/all"),
  defaults: () => get("api/defaults"),
  setDefaults: (defaults) => call("PUT", "api/defaults", defaults),
  groups: () => get("api/groups"),
  addGroup: ({ name }) => post("api/groups", { name }),
  changeGroup: (id, change) => call("PATCH", path("api", "groups", id), change),
  deleteGroup: (id) => call("DELETE", path("api", "groups", id)),
  audit: (before = null) => get(`api/audit${before ? `?before=${before}` : ""}`),
  lan: () => get("api/lan"),

  conversations: (before = null, limit = 50) =>
    get(`api/conversations?limit=${limit}${before ? `&before=${encodeURIComponent(before)}` : ""}`),
  createConversation: () => post("api/conversations"),
  conversation: (id) => get(path("api", "conversations", id)),
  changeConversation: (id, change) => call("PATCH", path("api", "conversations", id), change),
  deleteConversation: (id) => call("DELETE", path("api", "conversations", id)),
  restoreConversation: (id) => post(path("api", "conversations", id, "restore")),

  trash: () => get("api/trash"),
  emptyTrash: () => call("DELETE", "api/trash"),
  deleteForGood: (id) => call("DELETE", path("api", "trash", id)),

  shares: () => get("api/shares"),
  shareChoices: (conversationId) => get(`api/shares/choices?conversation_id=${encodeURIComponent(conversationId)}`),
  share: (what) => post("api/shares", what),
  revokeShare: (id) => call("DELETE", path("api", "shares", id)),
  receivedShares: () => get("api/shares/received"),
  readShared: (id, version = "") => get(`${path("api", "shares", "received", id)}?version=${encodeURIComponent(version)}`), // null where it is still that one
  copyShared: (id) => call("POST", path("api", "shares", "received", id, "copy")),

  /** `turn`: {mode: "send" | "retry" | "continue" | "edit", …}. */
  takeTurn: (id, turn) => post(path("api", "conversations", id, "messages"), turn),
  stopGeneration: (id) => post(path("api", "generations", id, "stop")),

  models: () => get("api/models"),
  modelStats: () => get("api/models/stats"),
  loadModel: (modelId) => post("api/models/load", { model_id: modelId }),
  setLora: (lora) => call("PUT", "api/models/lora", { lora }),
  cancelLoad: () => post("api/models/cancel"),
  unloadModel: ({ force }) => post(force ? "api/models/unload?force=true" : "api/models/unload"),
  fetchStarter: () => post("api/models/starter"),
  jobs: () => get("api/jobs"),
  cancelJob: (id) => post(path("api", "jobs", id, "cancel")),

  eventsUrl: (after) => `${root}api/events${after ? `?after=${encodeURIComponent(after)}` : ""}`,
};
