/**
 * Passkeys as the browser has them: whether it does, making one, using one.
 *
 * Knows the forms of the server and of the browser, which differ in how they write bytes; no DOM.
 */
import { t } from "./strings.js";

const ADDRESS = /^[\d.]+$|^\[/;

/** What went wrong between the browser and the device; `message` and `hint` are for people. */
export class PasskeyError extends Error {
  constructor(message, hint = "") {
    super(message);
    this.hint = hint;
  }
}

/** Whether this browser has passkeys for this page. */
export function hasPasskeys() {
  return window.isSecureContext && "PublicKeyCredential" in window && !ADDRESS.test(location.hostname);
}

/** Have the device make one; returns what the server wants to see. */
export async function makePasskey({ user, excludeCredentials = [], ...options }) {
  const publicKey = {
    ...options,
    challenge: bytesOf(options.challenge),
    user: { ...user, id: bytesOf(user.id) },
    excludeCredentials: excludeCredentials.map((one) => ({ ...one, id: bytesOf(one.id) })),
  };
  const { id, response } = await told(navigator.credentials.create({ publicKey }));
  return { id, client_data: textOf(response.clientDataJSON), attestation: textOf(response.attestationObject) };
}

/** Have the device use one; returns what the server wants to see. */
export async function usePasskey(options) {
  const publicKey = { ...options, challenge: bytesOf(options.challenge) };
  const { id, response } = await told(navigator.credentials.get({ publicKey }));
  return {
    id,
    client_data: textOf(response.clientDataJSON),
    authenticator_data: textOf(response.authenticatorData),
    signature: textOf(response.signature),
    user_handle: textOf(response.userHandle ?? new ArrayBuffer(0)),
  };
}

/** Wait for the device; what the browser says to programs is said to people. */
async function told(answer) {
  try {
    return await answer;
  } catch (error) {
    if (error.name === "InvalidStateError") throw new PasskeyError(t("passkeys.has_one"));
    if (error.name === "SecurityError") throw new PasskeyError(t("passkeys.not_here"), t("passkeys.not_here_hint"));
    // Browsers do not say which it was, a certificate that they do not trust among them.
    const hint = location.protocol === "https:" ? "passkeys.cancelled_https" : "passkeys.cancelled_hint";
    throw new PasskeyError(t("passkeys.cancelled"), t(hint));
  }
}

const bytesOf = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));

const textOf = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
