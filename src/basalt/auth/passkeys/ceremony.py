"""WebAuthn on the server's side: who the relying party is, the options for the browser, the check of what comes back.

W3C Web Authentication Level 3, §7.1 and §7.2. The options are spelt as go-webauthn, and so GoTrue, spells them. The
checks are those of py_webauthn and a few that it leaves to its caller. They take milliseconds: call them in a thread.
"""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import webauthn
from webauthn.helpers import (
    parse_authentication_credential_json,
    parse_client_data_json,
    parse_registration_credential_json,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AttestationFormat,
    AuthenticationCredential,
    CredentialDeviceType,
    RegistrationCredential,
)

from basalt import observe
from basalt.auth.errors import AuthError
from basalt.config import AuthSettings

CHALLENGE_BYTES: Final = 32
TIMEOUT_MS: Final = 300_000
ALGORITHMS: Final = (
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.ECDSA_SHA_512,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
    COSEAlgorithmIdentifier.RSASSA_PSS_SHA_256,
)
USUAL_PORTS: Final = {"http": 80, "https": 443}  # browsers leave them out of origins
NO_AAGUID: Final = UUID(int=0)
MAX_CREDENTIAL_ID_BYTES: Final = 1023  # Level 3, §7.1 step 25


class MalformedCredentialError(Exception):
    """What the client sent has not the form of a credential."""


class RefusedCredentialError(Exception):
    """The credential does not prove what it should. The cause is for the log."""


@dataclass(frozen=True, slots=True)
class RelyingParty:
    id: str
    name: str
    origins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A registered credential. `backup_eligible` is None where it was not noted."""

    id: bytes
    public_key: bytes
    sign_count: int
    transports: Sequence[str] = ()
    backup_eligible: bool | None = None


@dataclass(frozen=True, slots=True)
class NewKey:
    id: bytes
    public_key: bytes
    sign_count: int
    aaguid: UUID | None
    attestation: str
    transports: Sequence[str]
    user_verified: bool
    backup_eligible: bool
    backed_up: bool


@dataclass(frozen=True, slots=True)
class Assertion:
    sign_count: int
    backed_up: bool
    user_verified: bool


def relying_party(settings: AuthSettings) -> RelyingParty:
    """From `[auth.webauthn]`, by default the host and origin of `auth.site_url`. A site at a loopback address counts as
    `localhost`, because browsers take no address for a relying party. Raises AuthError unexpected_failure where
    neither names a host."""
    section, site = settings.webauthn, urlsplit(settings.site_url)
    host = "localhost" if _is_loopback(site.hostname or "") else site.hostname or ""
    rp_id = section.rp_id or host
    if not rp_id:
        raise AuthError("unexpected_failure", "Failed to initialize WebAuthn")
    is_usual = site.port is None or site.port == USUAL_PORTS.get(site.scheme)
    origin = f"{site.scheme}://{host}" if is_usual else f"{site.scheme}://{host}:{site.port}"
    return RelyingParty(rp_id, section.rp_display_name or rp_id, section.rp_origins or (origin,))


def new_challenge() -> str:
    return encode(secrets.token_bytes(CHALLENGE_BYTES))


def creation_options(
    party: RelyingParty,
    challenge: str,
    *,
    user_id: UUID,
    name: str,
    display_name: str,
    exclude: Sequence[KnownKey],
    is_passkey: bool,
) -> dict[str, Any]:
    """PublicKeyCredentialCreationOptions as JSON. A passkey is a discoverable credential."""
    selection: dict[str, Any] = {"requireResidentKey": is_passkey, "userVerification": "preferred"}
    if is_passkey:
        selection["residentKey"] = "required"
    return {
        "rp": {"name": party.name, "id": party.id},
        "user": {"name": name, "displayName": display_name, "id": encode(user_handle(user_id))},
        "challenge": challenge,
        "pubKeyCredParams": [{"type": "public-key", "alg": int(algorithm)} for algorithm in ALGORITHMS],
        "timeout": TIMEOUT_MS,
        "excludeCredentials": [_descriptor(key) for key in exclude],
        "authenticatorSelection": selection,
        "attestation": "none",
    }


def request_options(party: RelyingParty, challenge: str, allow: Sequence[KnownKey]) -> dict[str, Any]:
    """PublicKeyCredentialRequestOptions as JSON; nothing allowed means any discoverable credential."""
    options: dict[str, Any] = {
        "challenge": challenge,
        "timeout": TIMEOUT_MS,
        "rpId": party.id,
        "userVerification": "preferred",
    }
    if allow:
        options["allowCredentials"] = [_descriptor(key) for key in allow]
    return options


def parse_registration(credential: object) -> RegistrationCredential:
    """Raises MalformedCredentialError."""
    try:
        return parse_registration_credential_json(_object(credential))
    except Exception as exc:  # the library lets whatever base64 and enums raise pass
        raise MalformedCredentialError from exc


def parse_assertion(credential: object) -> AuthenticationCredential:
    """Raises MalformedCredentialError."""
    try:
        return parse_authentication_credential_json(_object(credential))
    except Exception as exc:  # as above
        raise MalformedCredentialError from exc


def check_registration(party: RelyingParty, challenge: str, credential: RegistrationCredential) -> NewKey:
    """Raises RefusedCredentialError."""
    try:
        _check_origin_of_frame(credential.response.client_data_json)
        verified = webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=decode(challenge),
            expected_rp_id=party.id,
            expected_origin=list(party.origins),
            supported_pub_key_algs=list(ALGORITHMS),
        )
        if (
            len(verified.credential_id) > MAX_CREDENTIAL_ID_BYTES
            or verified.credential_id != credential.raw_id
        ):
            raise RefusedCredentialError("the credential's id is not the attested one")
    except (
        Exception
    ) as exc:  # hostile bytes: whatever the parsers of CBOR, keys and certificates raise is a refusal
        raise _refused(exc) from exc
    aaguid = UUID(verified.aaguid)
    return NewKey(
        id=verified.credential_id,
        public_key=verified.credential_public_key,
        sign_count=verified.sign_count,
        aaguid=None if aaguid == NO_AAGUID else aaguid,
        attestation=AttestationFormat(verified.fmt).value,  # a plain text in spite of its annotation
        transports=tuple(transport.value for transport in credential.response.transports or ()),
        user_verified=verified.user_verified,
        backup_eligible=verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
        backed_up=verified.credential_backed_up,
    )


def check_assertion(
    party: RelyingParty, challenge: str, credential: AuthenticationCredential, key: KnownKey
) -> Assertion:
    """Raises RefusedCredentialError, also for a counter that does not go up (GoTrue only notes that)."""
    try:
        _check_origin_of_frame(credential.response.client_data_json)
        verified = webauthn.verify_authentication_response(
            credential=credential,
            expected_challenge=decode(challenge),
            expected_rp_id=party.id,
            expected_origin=list(party.origins),
            credential_public_key=key.public_key,
            credential_current_sign_count=key.sign_count,
        )
        eligible = verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE
        if key.backup_eligible is not None and eligible is not key.backup_eligible:
            raise RefusedCredentialError("the credential's backup eligibility has changed")
    except Exception as exc:  # as above
        raise _refused(exc) from exc
    return Assertion(verified.new_sign_count, verified.credential_backed_up, verified.user_verified)


def user_handle(user_id: UUID) -> bytes:
    """The id as text, as GoTrue has it (models/user.go WebAuthnID)."""
    return str(user_id).encode()


def encode(data: bytes) -> str:
    """
    >>> encode(b"a?b>"), decode("YT9iPg")
    ('YT9iPg', b'a?b>')
    """
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _check_origin_of_frame(client_data_json: bytes) -> None:
    """Not inside a frame of somebody else's page: nobody is configured who may embed a ceremony (§13.4.2)."""
    if parse_client_data_json(client_data_json).cross_origin:
        raise RefusedCredentialError("the ceremony ran in a frame of another origin")


def _refused(exc: Exception) -> RefusedCredentialError:
    observe.event("webauthn_refused", reason=f"{type(exc).__name__}: {exc}"[:200])
    return RefusedCredentialError()


def _object(credential: object) -> dict[str, Any]:
    if not isinstance(credential, Mapping):
        raise MalformedCredentialError
    return dict(credential)


def _descriptor(key: KnownKey) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": "public-key", "id": encode(key.id)}
    if key.transports:
        shown["transports"] = list(key.transports)
    return shown


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
