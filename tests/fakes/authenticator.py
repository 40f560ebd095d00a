"""A WebAuthn authenticator and the browser around it, in software: W3C Web Authentication Level 3, §6.3.

Makes ES256 credentials with attestation `none` and signs assertions, as JSON as browsers send it. Every value that a
server must look at can be made wrong."""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

ES256 = -7
PRESENT, VERIFIED, BACKUP_ELIGIBLE, BACKED_UP, ATTESTED = 0x01, 0x04, 0x08, 0x10, 0x40


@dataclass
class Credential:
    id: bytes
    key: ec.EllipticCurvePrivateKey
    rp_id: str
    user_handle: bytes


@dataclass
class Authenticator:
    """`counter` goes up by one with each use; None stands for one that does not count."""

    origin: str = "http://localhost:3000"
    aaguid: UUID = field(default_factory=lambda: UUID(int=0))
    counter: int | None = 0
    flags: int = PRESENT | VERIFIED
    credentials: list[Credential] = field(default_factory=list)

    def create(self, options: dict[str, Any], **wrong: Any) -> dict[str, Any]:
        """What `navigator.credentials.create()` gives for these options."""
        assert {"type": "public-key", "alg": ES256} in options["pubKeyCredParams"]
        excluded = {_decode(key["id"]) for key in options.get("excludeCredentials", ())}
        assert not excluded & {credential.id for credential in self.credentials}, "InvalidStateError"
        credential = Credential(
            wrong.get("id") or secrets.token_bytes(32),
            ec.generate_private_key(ec.SECP256R1()),
            options["rp"]["id"],
            _decode(options["user"]["id"]),
        )
        self.credentials.append(credential)
        attested = (
            self.aaguid.bytes + len(credential.id).to_bytes(2, "big") + credential.id + _cose(credential.key)
        )
        data = self._data(credential, wrong, ATTESTED) + attested
        attestation = {"fmt": "none", "attStmt": {}, "authData": data}
        response = {
            "clientDataJSON": _encode(self._client_data("webauthn.create", options, wrong)),
            "attestationObject": _encode(cbor2.dumps(attestation)),
            "transports": ["internal", "hybrid"],
        }
        return self._json(credential, response)

    def get(self, options: dict[str, Any], **wrong: Any) -> dict[str, Any]:
        """What `navigator.credentials.get()` gives: by an allowed credential, or the newest one where any is
        allowed."""
        allowed = {_decode(key["id"]) for key in options.get("allowCredentials", ())}
        usable = [
            c for c in self.credentials if c.rp_id == options["rpId"] and (not allowed or c.id in allowed)
        ]
        assert usable, "NotAllowedError"
        credential = usable[-1]
        client_data = self._client_data("webauthn.get", options, wrong)
        data = self._data(credential, wrong)
        signed = data + hashlib.sha256(client_data).digest()
        key = wrong.get("key") or credential.key
        response = {
            "clientDataJSON": _encode(client_data),
            "authenticatorData": _encode(data),
            "signature": _encode(key.sign(signed, ec.ECDSA(hashes.SHA256()))),
            "userHandle": _encode(wrong.get("user_handle", credential.user_handle)),
        }
        return self._json(credential, response)

    def _client_data(self, kind: str, options: dict[str, Any], wrong: dict[str, Any]) -> bytes:
        return json.dumps(
            {
                "type": wrong.get("type", kind),
                "challenge": wrong.get("challenge", options["challenge"]),
                "origin": wrong.get("origin", self.origin),
                "crossOrigin": wrong.get("cross_origin", False),
            }
        ).encode()

    def _data(self, credential: Credential, wrong: dict[str, Any], more_flags: int = 0) -> bytes:
        if self.counter is not None:
            self.counter += 1
        counter = wrong.get("counter", self.counter or 0)
        rp_id = wrong.get("rp_id", credential.rp_id)
        flags = wrong.get("flags", self.flags) | more_flags
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + counter.to_bytes(4, "big")

    def _json(self, credential: Credential, response: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": _encode(credential.id),
            "rawId": _encode(credential.id),
            "type": "public-key",
            "response": response,
            "clientExtensionResults": {},
            "authenticatorAttachment": "platform",
        }


def _cose(key: ec.EllipticCurvePrivateKey) -> bytes:
    numbers = key.public_key().public_numbers()
    x, y = numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
    return cbor2.dumps({1: 2, 3: ES256, -1: 1, -2: x, -3: y})


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
