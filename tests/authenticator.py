"""A device that keeps passkeys, in software: it answers as browsers do, and wrongly where told to."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, encode_cbor

PRESENT, VERIFIED, MAY_BE_BACKED_UP, BACKED_UP, HAS_KEY = 1, 4, 8, 16, 64


class Authenticator:
    """Keeps one passkey.

    Args:
        origin: Of the page that asks.
        counts: Whether it counts how often it signs.
    """

    def __init__(self, origin: str, *, counts: bool = True) -> None:
        self.origin = origin
        self.counts = counts
        self.num_used = 0
        self.id = secrets.token_bytes(32)
        self.handle = b""
        self.key = ec.generate_private_key(ec.SECP256R1())

    def make(self, options: dict[str, Any], **twists: Any) -> dict[str, str]:
        """Answer to options of creation."""
        self.handle = base64url_to_bytes(options["user"]["id"])
        numbers = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
        cose |= twists.get("cose", {})
        key = bytes(16) + len(self.id).to_bytes(2) + self.id + encode_cbor(cose)
        rp_id = twists.get("rp_id", options["rp"]["id"])
        data = self._data(rp_id, twists.get("flags", PRESENT | VERIFIED) | HAS_KEY) + key
        whole = {"fmt": "none", "attStmt": {}, "authData": data} | twists.get("whole", {})
        return {
            "id": bytes_to_base64url(self.id),
            "client_data": self._client_data("webauthn.create", options, twists),
            "attestation": bytes_to_base64url(encode_cbor(whole)),
        }

    def use(self, options: dict[str, Any], **twists: Any) -> dict[str, str]:
        """Answer to options of a sign-in."""
        self.num_used += self.counts
        rp_id = twists.get("rp_id", options["rpId"])
        data = self._data(rp_id, twists.get("flags", PRESENT | VERIFIED))
        client_data = self._client_data("webauthn.get", options, twists)
        signed = data + hashlib.sha256(base64url_to_bytes(client_data)).digest()
        key = twists.get("key", self.key)
        return {
            "id": bytes_to_base64url(self.id),
            "client_data": client_data,
            "authenticator_data": bytes_to_base64url(data),
            "signature": bytes_to_base64url(key.sign(signed, ec.ECDSA(hashes.SHA256()))),
            "user_handle": bytes_to_base64url(twists.get("handle", self.handle)),
        }

    def _data(self, rp_id: str, flags: int) -> bytes:
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + self.num_used.to_bytes(4)

    def _client_data(self, kind: str, options: dict[str, Any], twists: dict[str, Any]) -> str:
        said = {
            "type": twists.get("kind", kind),
            "challenge": twists.get("challenge", options["challenge"]),
            "origin": twists.get("origin", self.origin),
            "crossOrigin": twists.get("cross_origin", False),
        }
        return bytes_to_base64url(json.dumps(said).encode())
