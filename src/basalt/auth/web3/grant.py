"""`POST /token?grant_type=web3`: a session for who holds a wallet (GoTrue web3.go).

Stricter than GoTrue in four things that no wallet does: a message is good for one sign-in; its expiration counts
also without a Not Before; on localhost, too, the domain is that of the URI; and an Ethereum address is one identity
however it is spelled.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError, OAuthError
from basalt.auth.external_identity import ExternalProfile, admit_external
from basalt.auth.tokens import issue_session, session_response
from basalt.auth.used_proofs import use_proof
from basalt.auth.users import Transaction
from basalt.auth.web3 import ethereum, solana
from basalt.auth.web3.message import Dialect, SignedMessage, parse_message
from basalt.config import WalletSettings
from basalt.http import Response

MIN_MESSAGE_BYTES: Final = 64
MAX_MESSAGE_BYTES: Final = 20 * 1024

FIND_SUBJECT: Final = """
select provider_id from auth.identities where provider = 'web3' and provider_id = any (%(subjects)s)
order by created_at limit 1
"""


class Parameters(msgspec.Struct):
    chain: str = ""
    message: str = ""
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """A kind of wallet. `spellings` are the ways in which one address may be written, ours first."""

    name: str
    dialect: Dialect
    read_signature: Callable[[str], bytes]
    has_signed: Callable[[SignedMessage, bytes], bool]
    spellings: Callable[[str], tuple[str, ...]]
    # what GoTrue writes where a message has no statement
    no_statement: str | None

    @property
    def title(self) -> str:
        return self.dialect.account

    def refusal(self, text: str) -> OAuthError:
        return OAuthError("invalid_grant", text)


CHAINS: Final[Mapping[str, Chain]] = {
    "ethereum": Chain(
        "ethereum",
        ethereum.DIALECT,
        ethereum.read_signature,
        ethereum.has_signed,
        ethereum.spellings,
        no_statement=None,
    ),
    "solana": Chain(
        "solana",
        solana.DIALECT,
        solana.read_signature,
        solana.has_signed,
        solana.spellings,
        no_statement="",
    ),
}


async def grant_by_wallet(call: Call) -> Response:
    """Raises AuthError web3_provider_disabled, web3_unsupported_chain, validation_failed, user_banned,
    signup_disabled, OAuthError invalid_grant."""
    await call.auth.limits.check("web3", call.request)
    wallets = {"ethereum": call.settings.web3.ethereum, "solana": call.settings.web3.solana}
    if not any(wallet.enabled for wallet in wallets.values()):
        raise AuthError("web3_provider_disabled")
    parameters = await call.parameters(Parameters)
    chain = CHAINS.get(parameters.chain)
    if chain is None:
        raise AuthError("web3_unsupported_chain")
    settings = wallets[chain.name]
    if not settings.enabled:
        raise AuthError("web3_provider_disabled", f"{chain.title} Web3 provider is disabled")
    message = _read_message(parameters, chain)
    _check_place(call, message, chain)
    _check_time(message, chain, settings, datetime.now(UTC))
    async with call.auth.transaction() as tx:
        await _use_up(tx, message, chain, settings)
        session = await _sign_in(call, tx, message, chain)
    return session_response(session)


def _read_message(parameters: Parameters, chain: Chain) -> SignedMessage:
    """The message, if its account signed it."""
    size = len(parameters.message.encode())
    if size < MIN_MESSAGE_BYTES:
        raise AuthError("validation_failed", "message is too short")
    if size > MAX_MESSAGE_BYTES:
        raise AuthError("validation_failed", "message must not exceed 20KB")
    signature = chain.read_signature(parameters.signature)
    message = parse_message(parameters.message, chain.dialect)
    if not chain.has_signed(message, signature):
        raise chain.refusal("Signature does not match address in message")
    return message


def _check_place(call: Call, message: SignedMessage, chain: Chain) -> None:
    """The message was signed for a page of this project: another site cannot pass it on."""
    uri, is_allowed = message.uri, call.auth.redirects.is_allowed
    is_local = uri.hostname == "localhost"
    begin = f"Signed {chain.title} message is using"
    if uri.scheme != "https" and not is_local:
        raise chain.refusal(f"{begin} URI which does not use HTTPS")
    if not is_allowed(uri.geturl()):
        raise chain.refusal(
            f"{begin} URI which is not allowed on this server, message was signed for another app"
        )
    domain = message.domain.lower()
    if is_local:
        is_same = domain.partition(":")[0] == "localhost"
    else:
        is_same = uri.netloc.lower() == domain and is_allowed(f"https://{message.domain}/")
    if not is_same:
        raise chain.refusal(
            f"{begin} a Domain that does not match the one in URI which is not allowed on this server"
        )


def _check_time(message: SignedMessage, chain: Chain, settings: WalletSettings, now: datetime) -> None:
    if message.not_before is not None and now < message.not_before:
        raise chain.refusal(f"Signed {chain.title} message becomes valid in the future")
    if message.expires_at is not None and now > message.expires_at:
        raise chain.refusal(f"Signed {chain.title} message is expired")
    age_s = (now - message.issued_at).total_seconds()
    if age_s > settings.maximum_validity_s:
        raise chain.refusal(f"{chain.title} message was issued too long ago")
    if age_s < -settings.maximum_validity_s:
        raise chain.refusal(f"{chain.title} message was issued too far in the future")


async def _use_up(tx: Transaction, message: SignedMessage, chain: Chain, settings: WalletSettings) -> None:
    """The message, not its signature: of that there may be several for one message."""
    expires_at = message.issued_at + timedelta(seconds=settings.maximum_validity_s)
    if not await use_proof(tx, "web3", f"{chain.name}:{message.raw}", expires_at=expires_at):
        raise chain.refusal(f"Signed {chain.title} message has been used already")


async def _sign_in(call: Call, tx: Transaction, message: SignedMessage, chain: Chain) -> dict[str, object]:
    subjects = [f"web3:{chain.name}:{address}" for address in chain.spellings(message.address)]
    known = await (await tx.execute(FIND_SUBJECT, {"subjects": subjects})).fetchone()
    subject = subjects[0] if known is None else known["provider_id"]
    wallet = {
        "address": message.address,
        "chain": chain.name,
        "network": message.chain_id,
        "domain": message.domain,
    }
    statement = chain.no_statement if message.statement is None else message.statement
    claims = {"sub": subject, "custom_claims": wallet | {"statement": statement}}
    profile = ExternalProfile(subject=subject, claims=claims, emails=())
    user = await admit_external(call, tx, profile, "web3", email_optional=True)
    await record(tx, user, "login", {"provider": "web3", **wallet, "uri": message.uri.geturl()})
    return await issue_session(call, tx, user, "web3")
