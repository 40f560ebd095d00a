"""Wallet sign-in: what is let in, what is used up, and every way in which a message or a signature is wrong."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from basalt.auth import AuthError
from basalt.auth.web3 import ethereum, solana
from basalt.auth.web3.message import parse_message
from basalt.config import WalletSettings, Web3Settings
from tests.auth.conftest import Answer, AuthClient, StartAuth
from tests.fakes.wallets import EthereumWallet, SolanaWallet, instant, wallet_message

pytestmark = pytest.mark.req("P6")

GRANT = "/token?grant_type=web3"
BOTH = Web3Settings(ethereum=WalletSettings(enabled=True), solana=WalletSettings(enabled=True))

StartWallets = Callable[..., Awaitable[AuthClient]]


@pytest.fixture
def start_wallets(start_auth: StartAuth) -> StartWallets:
    async def start(web3: Web3Settings = BOTH, **auth: Any) -> AuthClient:
        given = {
            "site_url": "https://example.com",
            "additional_redirect_urls": ("http://localhost:3000/**",),
        }
        return await start_auth(web3=web3, **(given | auth))

    return start


@pytest.fixture
async def auth(start_wallets: StartWallets) -> AuthClient:
    return await start_wallets()


async def ethereum_answer(auth: AuthClient, wallet: EthereumWallet, message: str, **sign: Any) -> Answer:
    body = {"chain": "ethereum", "message": message, "signature": wallet.sign(message, **sign)}
    return await auth.post(GRANT, body)


async def solana_answer(auth: AuthClient, wallet: SolanaWallet, message: str) -> Answer:
    body = {"chain": "solana", "message": message, "signature": wallet.sign(message)}
    return await auth.post(GRANT, body)


async def test_an_ethereum_wallet_signs_in_and_is_known_again(auth: AuthClient) -> None:
    wallet = EthereumWallet()
    answer = await ethereum_answer(auth, wallet, wallet_message(wallet.address))
    assert answer.status == 200, answer.body
    user = answer.json["user"]
    [identity] = user["identities"]
    wallet_claims = {
        "address": wallet.address,
        "chain": "ethereum",
        "network": "1",
        "domain": "example.com",
        "statement": "Sign in to Example",
    }
    assert identity["provider"] == "web3"
    assert identity["id"] == f"web3:ethereum:{wallet.address.lower()}"
    assert identity["identity_data"]["custom_claims"] == wallet_claims
    assert identity["identity_data"]["sub"] == identity["id"]
    assert user["user_metadata"]["custom_claims"] == wallet_claims
    assert user["app_metadata"] == {"provider": "web3", "providers": ["web3"]}
    assert user["email"] == ""
    claims = jwt.decode(
        answer.json["access_token"], auth.keys.jwt_secret, algorithms=["HS256"], audience="authenticated"
    )
    assert [entry["method"] for entry in claims["amr"]] == ["web3"]
    [logged] = auth.rows(
        "select payload -> 'traits' as traits from auth.audit_log_entries"
        " where payload -> 'traits' ->> 'uri' is not null"
    )
    assert logged["traits"]["uri"] == "https://example.com/"

    again = await ethereum_answer(auth, wallet, wallet_message(wallet.address, statement=None))
    assert again.json["user"]["id"] == user["id"]
    assert again.json["user"]["user_metadata"]["custom_claims"]["statement"] is None


async def test_an_address_is_one_identity_however_it_is_spelled(auth: AuthClient) -> None:
    wallet = EthereumWallet()
    ids = set()
    for address in (wallet.address.lower(), wallet.address, "0x" + wallet.address[2:].upper()):
        answer = await ethereum_answer(auth, wallet, wallet_message(address))
        assert answer.status == 200, answer.body
        ids.add(answer.json["user"]["id"])
    assert len(ids) == 1
    # an identity that came from GoTrue, where the spelling of the message was kept
    auth.rows("update auth.identities set provider_id = %s", f"web3:ethereum:{wallet.address}")
    answer = await ethereum_answer(auth, wallet, wallet_message(wallet.address.lower()))
    assert {answer.json["user"]["id"]} == ids


async def test_a_solana_wallet_signs_in(auth: AuthClient) -> None:
    wallet = SolanaWallet()
    message = wallet_message(wallet.address, chain="Solana", statement=None)
    answer = await solana_answer(auth, wallet, message)
    assert answer.status == 200, answer.body
    [identity] = answer.json["user"]["identities"]
    assert identity["id"] == f"web3:solana:{wallet.address}"
    assert identity["identity_data"]["custom_claims"] == {
        "address": wallet.address,
        "chain": "solana",
        "network": "solana:mainnet",
        "domain": "example.com",
        "statement": "",
    }


async def test_a_ledger_signs_in_by_an_off_chain_message(auth: AuthClient) -> None:
    wallet = SolanaWallet()
    message = wallet_message(wallet.address, chain="Solana")
    signature = wallet.sign_on_ledger(message, "example.com")
    body = {"chain": "solana", "message": message, "signature": signature}
    assert (await auth.post(GRANT, body)).status == 200
    other = wallet_message(wallet.address, chain="Solana", Nonce="another")
    body = {"chain": "solana", "message": other, "signature": wallet.sign_on_ledger(other, "evil.example")}
    await refused(auth.post(GRANT, body), "Signature does not match address in message")


@pytest.mark.parametrize("v", [0, 27])
async def test_both_conventions_of_the_recovery_id_are_read(auth: AuthClient, v: int) -> None:
    wallet = EthereumWallet()
    assert (await ethereum_answer(auth, wallet, wallet_message(wallet.address), v=v)).status == 200


@pytest.mark.parametrize("padding", ["", "=="])
@pytest.mark.parametrize("alphabet", ["-_", "+/"])
async def test_a_signature_may_be_any_base64(auth: AuthClient, padding: str, alphabet: str) -> None:
    wallet = SolanaWallet()
    message = wallet_message(wallet.address, chain="Solana")
    signature = wallet.sign(message).rstrip("=").translate(str.maketrans("-_", alphabet)) + padding
    body = {"chain": "solana", "message": message, "signature": signature}
    assert (await auth.post(GRANT, body)).status == 200


async def test_a_message_is_good_for_one_sign_in(auth: AuthClient) -> None:
    wallet = EthereumWallet()
    message = wallet_message(wallet.address)
    assert (await ethereum_answer(auth, wallet, message)).status == 200
    await refused(ethereum_answer(auth, wallet, message), "Signed Ethereum message has been used already")
    [kept] = auth.rows("select expires_at - used_at as validity from basalt.used_proofs")
    assert timedelta(minutes=9) < kept["validity"] <= timedelta(minutes=10)


async def test_of_many_requests_with_one_message_one_signs_in(auth: AuthClient) -> None:
    wallet = SolanaWallet()
    message = wallet_message(wallet.address, chain="Solana")
    answers = await asyncio.gather(*(solana_answer(auth, wallet, message) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200] + [400] * 7
    assert auth.rows("select count(*) as n from auth.sessions")[0]["n"] == 1


async def test_what_has_expired_is_forgotten(auth: AuthClient) -> None:
    auth.rows(
        "insert into basalt.used_proofs (kind, digest, expires_at) values ('web3', 'old', now() - interval '2 h'),"
        " ('web3', 'young', now() - interval '1 min')"
    )
    wallet = EthereumWallet()
    assert (await ethereum_answer(auth, wallet, wallet_message(wallet.address))).status == 200
    kept = {bytes(row["digest"]) for row in auth.rows("select digest from basalt.used_proofs")}
    assert len(kept) == 2
    assert b"old" not in kept


async def test_a_refused_sign_in_leaves_the_message_unused(auth: AuthClient) -> None:
    wallet = EthereumWallet()
    user = (await ethereum_answer(auth, wallet, wallet_message(wallet.address))).json["user"]
    await auth.admin("PUT", f"/admin/users/{user['id']}", {"ban_duration": "1h"})
    message = wallet_message(wallet.address, Nonce="banned")
    assert (await ethereum_answer(auth, wallet, message)).error == (403, "user_banned")
    await auth.admin("PUT", f"/admin/users/{user['id']}", {"ban_duration": "none"})
    assert (await ethereum_answer(auth, wallet, message)).status == 200


async def test_new_wallets_need_sign_up(start_wallets: StartWallets) -> None:
    auth = await start_wallets(enable_signup=False)
    wallet = EthereumWallet()
    answer = await ethereum_answer(auth, wallet, wallet_message(wallet.address))
    assert answer.error == (422, "signup_disabled")


async def refused(request: Awaitable[Answer], description: str) -> None:
    answer = await request
    assert answer.status == 400
    assert answer.json == {"error": "invalid_grant", "error_description": description}


async def test_signatures_of_others_are_refused(auth: AuthClient) -> None:
    wallet, other = EthereumWallet(), EthereumWallet()
    message = wallet_message(wallet.address)
    no_match = "Signature does not match address in message"
    await refused(ethereum_answer(auth, other, message), no_match)
    await refused(ethereum_answer(auth, wallet, message, high_s=True), no_match)
    await refused(ethereum_answer(auth, wallet, message, v=4), no_match)
    right = wallet.sign(message)
    for signature in (right[2:], "0x" + "z" * 130, "0x" + "0" * 130, right[:-2] + "ff", "0x" + "f" * 130):
        body = {"chain": "ethereum", "message": message, "signature": signature}
        await refused(auth.post(GRANT, body), no_match)
    changed = message.replace("Sign in to Example", "Sign in to Example.")
    body = {"chain": "ethereum", "message": changed, "signature": right}
    await refused(auth.post(GRANT, body), no_match)

    solana_wallet = SolanaWallet()
    message = wallet_message(solana_wallet.address, chain="Solana")
    await refused(solana_answer(auth, SolanaWallet(), message), no_match)
    sixty_five = base64.b64encode(b"x" * 66).decode()
    body = {"chain": "solana", "message": message, "signature": sixty_five}
    await refused(auth.post(GRANT, body), no_match)


@pytest.mark.parametrize(
    ("fields", "description"),
    [
        ({"URI": "http://example.com/"}, "{} URI which does not use HTTPS"),
        ({"URI": "/only/a/path"}, "{} URI which does not use HTTPS"),
        (
            {"URI": "https://other.example/"},
            "{} URI which is not allowed on this server, message was signed for another app",
        ),
        (
            {"URI": "https://user@example.com/"},
            "{} URI which is not allowed on this server, message was signed for another app",
        ),
        (
            {"domain": "evil.example", "URI": "https://example.com/"},
            "{} a Domain that does not match the one in URI which is not allowed on this server",
        ),
        (
            {"domain": "example.com:8443", "URI": "https://example.com/"},
            "{} a Domain that does not match the one in URI which is not allowed on this server",
        ),
        (
            {"domain": "evil.example", "URI": "http://localhost:3000/page"},
            "{} a Domain that does not match the one in URI which is not allowed on this server",
        ),
        (
            {"domain": "localhost:4000", "URI": "http://localhost:4000/"},
            "{} URI which is not allowed on this server, message was signed for another app",
        ),
    ],
)
async def test_a_message_for_another_place_is_refused(
    auth: AuthClient, fields: dict[str, str], description: str
) -> None:
    wallet = EthereumWallet()
    text = description.format("Signed Ethereum message is using")
    await refused(ethereum_answer(auth, wallet, wallet_message(wallet.address, **fields)), text)
    solana_wallet = SolanaWallet()
    message = wallet_message(solana_wallet.address, chain="Solana", **fields)
    await refused(solana_answer(auth, solana_wallet, message), text.replace("Ethereum", "Solana"))


@pytest.mark.parametrize("domain", ["localhost:3000", "localhost"])
async def test_localhost_may_do_without_https(auth: AuthClient, domain: str) -> None:
    wallet = EthereumWallet()
    message = wallet_message(wallet.address, domain=domain, URI="http://localhost:3000/login")
    assert (await ethereum_answer(auth, wallet, message)).status == 200


@pytest.mark.parametrize(
    ("offsets", "description"),
    [
        ({"Issued_At": -601}, "{} message was issued too long ago"),
        ({"Issued_At": 601}, "{} message was issued too far in the future"),
        ({"Issued_At": -30, "Expiration_Time": -10}, "Signed {} message is expired"),
        ({"Issued_At": -30, "Not_Before": -20, "Expiration_Time": -10}, "Signed {} message is expired"),
        ({"Not_Before": 30}, "Signed {} message becomes valid in the future"),
        ({"Issued_At": -590}, None),
        ({"Issued_At": -30, "Not_Before": -20, "Expiration_Time": 20}, None),
    ],
)
async def test_a_message_has_its_time(
    auth: AuthClient, offsets: dict[str, int], description: str | None
) -> None:
    fields = {name: instant(datetime.now(UTC) + timedelta(seconds=s)) for name, s in offsets.items()}
    wallet, solana_wallet = EthereumWallet(), SolanaWallet()
    on_ethereum = await ethereum_answer(auth, wallet, wallet_message(wallet.address, **fields))
    message = wallet_message(solana_wallet.address, chain="Solana", **fields)
    on_solana = await solana_answer(auth, solana_wallet, message)
    for chain, answer in (("Ethereum", on_ethereum), ("Solana", on_solana)):
        if description is None:
            assert answer.status == 200, answer.body
        else:
            assert answer.json["error_description"] == description.format(chain)


async def test_chains_are_switched_on_one_by_one(start_wallets: StartWallets) -> None:
    wallet = EthereumWallet()
    message = wallet_message(wallet.address)
    none = await start_wallets(Web3Settings())
    answer = await ethereum_answer(none, wallet, message)
    assert answer.error == (422, "web3_provider_disabled")
    assert answer.json["msg"] == "Web3 provider is disabled"
    only = await start_wallets(replace(BOTH, ethereum=WalletSettings()))
    answer = await ethereum_answer(only, wallet, message)
    assert answer.error == (422, "web3_provider_disabled")
    assert answer.json["msg"] == "Ethereum Web3 provider is disabled"
    only = await start_wallets(replace(BOTH, solana=WalletSettings()))
    answer = await only.post(GRANT, {"chain": "solana"})
    assert answer.json["msg"] == "Solana Web3 provider is disabled"
    assert (await ethereum_answer(only, wallet, message)).status == 200


LONG = "x" * 64
SIGNATURE = "0x" + "1" * 130


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (b"no json", 400, "bad_json", None),
        (b"", 400, "bad_json", None),
        (b"[]", 400, "bad_json", None),
        ({"chain": 1}, 400, "bad_json", None),
        ({"chain": "ethereum", "message": ["x"]}, 400, "bad_json", None),
        ({"chain": "ethereum", "message": LONG + "\x00"}, 400, "validation_failed", None),
        ({}, 400, "web3_unsupported_chain", "Unsupported chain"),
        (None, 400, "bad_json", None),
        ({"chain": "Ethereum"}, 400, "web3_unsupported_chain", "Unsupported chain"),
        ({"chain": "bitcoin", "more": 1}, 400, "web3_unsupported_chain", "Unsupported chain"),
        ({"chain": "ethereum"}, 400, "validation_failed", "message is too short"),
        ({"chain": "solana", "message": "x" * 63}, 400, "validation_failed", "message is too short"),
        (
            {"chain": "solana", "message": "ü" * 10241},
            400,
            "validation_failed",
            "message must not exceed 20KB",
        ),
        (
            {"chain": "ethereum", "message": LONG, "signature": "0x11"},
            400,
            "validation_failed",
            "signature must be 65 bytes long, encoded as a 130 character-long hexadecimal string",
        ),
        (
            {"chain": "solana", "message": LONG, "signature": "x" * 87},
            400,
            "validation_failed",
            "signature must be 64 bytes encoded as base64 with or without padding",
        ),
        (
            {"chain": "solana", "message": LONG, "signature": "!" * 86},
            400,
            "validation_failed",
            "signature does not contain valid base64 characters",
        ),
        (
            {"chain": "solana", "message": LONG, "signature": "x" * 85 + "==="},
            400,
            "validation_failed",
            "signature does not contain valid base64 characters",
        ),
        (
            {"chain": "ethereum", "message": LONG, "signature": SIGNATURE},
            400,
            "validation_failed",
            "siwe: message needs at least 6 lines",
        ),
    ],
)
async def test_malformed_requests(
    auth: AuthClient, body: object, status: int, code: str, message: str | None
) -> None:
    answer = await auth.post(GRANT, body)
    assert answer.error == (status, code)
    assert message is None or answer.json["msg"] == message


async def test_other_methods_and_large_bodies_are_refused(auth: AuthClient) -> None:
    assert (await auth.get(GRANT)).error == (405, "method_not_allowed")
    body = {"chain": "ethereum", "message": "x" * 1024 * 1024}
    assert (await auth.post(GRANT, body)).error == (413, "request_entity_too_large")


async def test_wallet_sign_ins_are_limited_by_address(start_auth: StartAuth, base_settings: Any) -> None:
    limit = replace(base_settings.auth.rate_limit, web3=1)
    auth = await start_auth(web3=BOTH, rate_limit=limit, basalt={"client_address_header": "x-real-ip"})
    headers = {"x-real-ip": "203.0.113.1"}
    assert (await auth.post(GRANT, {}, headers=headers)).error == (400, "web3_unsupported_chain")
    assert (await auth.post(GRANT, {}, headers=headers)).error == (429, "over_request_rate_limit")


ADDRESS = "0x196a28d05bA75C8dC35B0F6e71DD622D1aC82b7E"
HEAD = f"example.com wants you to sign in with your Ethereum account:\n{ADDRESS}\n\nHello\n\n"
SOLANA_HEAD = (
    "example.com wants you to sign in with your Solana account:\n"
    "4Cw1koUQtqybLFem7uqhzMBznMPGARbFS4cjaYbM9RnR\n\nHello\n\n"
)
URI, VERSION, AT = "URI: https://example.com\n", "Version: 1\n", "Issued At: 2025-01-01T00:00:00Z\n"
TIMES = "Expiration Time: 2024-12-31T23:59:59Z\n"


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ("\n\n\n\n", "message needs at least 6 lines"),
        (
            "example.com whatever\n\n\n\n\n\n",
            'message first line does not end in " wants you to sign in with your Ethereum account:"',
        ),
        (HEAD.replace("example.com", "exa_mple.com"), "domain in first line of message is not valid"),
        (HEAD.replace("example.com", "127.0.0.1"), "domain in first line of message is not valid"),
        (HEAD.replace(ADDRESS, ADDRESS[:-1]), "wallet address is not a valid Ethereum address"),
        (HEAD.replace(ADDRESS, ADDRESS[:-1] + "e"), "wallet address is not a valid Ethereum address"),
        (HEAD.replace(f"{ADDRESS}\n\n", f"{ADDRESS}\n{URI}"), "third line must be empty"),
        (HEAD + "Not parsable\n", "encountered unparsable line at index 5"),
        (HEAD + URI + "Amount: 1 ETH\n", "encountered unparsable line at index 6"),
        (HEAD + URI + VERSION + AT + URI, "encountered unparsable line at index 8"),
        (HEAD + "Resources:\n- https://a.example\nResources:\n", "encountered unparsable line at index 7"),
        (HEAD + "URI: ***\n", "URI is not valid"),
        (HEAD + "URI:\n", "URI is not valid"),
        (HEAD + "URI: https://example.com/%zz\n", "URI is not valid"),
        (HEAD + "URI: https://example.com:port/\n", "URI is not valid"),
        (HEAD + "Chain ID:\n", "Chain ID is not valid"),
        (HEAD + "Chain ID: -1\n", "Chain ID is not valid"),
        (HEAD + "Chain ID: 0x1\n", "Chain ID is not valid"),
        (HEAD + "Chain ID: 9999999999999999999\n", "Chain ID is not valid"),
        (HEAD + "Issued At: yesterday\n", "Issued At is not a valid ISO8601 timestamp"),
        (HEAD + "Issued At: 2025-02-30T00:00:00Z\n", "Issued At is not a valid ISO8601 timestamp"),
        (HEAD + "Issued At: 0001-01-01T00:00:00+01:00\n", "Issued At is not a valid ISO8601 timestamp"),
        (HEAD + "Expiration Time: x\n", "Expiration Time is not a valid ISO8601 timestamp"),
        (HEAD + "Not Before: 20250101\n", "Not Before is not a valid ISO8601 timestamp"),
        (HEAD + URI + AT, 'Version value is not supported, expected 1 got ""'),
        (HEAD + URI + AT + "Version: 2", 'Version value is not supported, expected 1 got "2"'),
        (HEAD + VERSION + URI, "Issued At is not specified"),
        (HEAD + VERSION + AT, "URI is not specified"),
        (HEAD + VERSION + URI + AT + TIMES, "Issued At is after Expiration Time"),
        (
            HEAD
            + VERSION
            + URI
            + AT
            + "Not Before: 2025-01-03T00:00:00Z\nExpiration Time: 2025-01-02T00:00:00Z",
            "Not Before is after Expiration Time",
        ),
        (
            HEAD + VERSION + URI + AT + "Resources:\n- ipfs://x\n- ***",
            "Resource at position 1 has invalid URI",
        ),
    ],
)
def test_messages_are_read_strictly(raw: str, problem: str) -> None:
    with pytest.raises(AuthError) as caught:
        parse_message(raw, ethereum.DIALECT)
    assert caught.value.code == "validation_failed"
    assert caught.value.message == f"siwe: {problem}"


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (
            HEAD,
            'message first line does not end in " wants you to sign in with your Solana account:"',
        ),
        (SOLANA_HEAD.replace("4Cw1", "0Ow1"), "wallet address is not in base58 format"),
        (SOLANA_HEAD.replace("4Cw1k", "k"), "wallet address is not in base58 format"),
        (SOLANA_HEAD + "Chain ID: random:mainnet\n", "Chain ID is not valid"),
    ],
)
def test_solana_messages_are_read_strictly(raw: str, problem: str) -> None:
    with pytest.raises(AuthError) as caught:
        parse_message(raw, solana.DIALECT)
    assert caught.value.message == f"siws: {problem}"


def test_every_field_of_a_message_is_read() -> None:
    text = (
        f"{HEAD}\n{VERSION}{URI}\nChain ID: 137\nNonce: 1\nIssued At: 2025-01-01T01:00:00.5+01:00\r\n"
        "Expiration Time: 2025-01-02T00:00:00Z\nNot Before: 2025-01-01T00:00:01Z\nRequest ID: r: 1\n"
        "Resources:\n- https://a.example/x\n- urn:thing\n"
    )
    message = parse_message(text, ethereum.DIALECT)
    assert message.raw == text
    assert (message.domain, message.address, message.statement) == ("example.com", ADDRESS, "Hello")
    assert message.uri.geturl() == "https://example.com"
    assert (message.chain_id, message.nonce, message.request_id) == ("137", "1", "r: 1")
    assert message.issued_at == datetime(2025, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    assert message.expires_at == datetime(2025, 1, 2, tzinfo=UTC)
    assert message.not_before == datetime(2025, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert message.resources == ("https://a.example/x", "urn:thing")


def test_a_signature_made_by_web3_js_is_verified() -> None:
    """The example of web3.js's documentation (`accounts.sign("Some data", …)`), made by another implementation."""
    address = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
    message = replace(parse_message(wallet_message(address), ethereum.DIALECT), raw="Some data")
    signature = (
        "0xb91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd"
        "6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a0291c"
    )
    assert ethereum.has_signed(message, ethereum.read_signature(signature))
    assert not ethereum.has_signed(replace(message, raw="Some date"), ethereum.read_signature(signature))
