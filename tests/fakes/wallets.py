"""Wallets with keys of their own, and a local server that signs for a wallet object in a browser (`personal_sign`)."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import base58
from coincurve import PrivateKey
from Crypto.Hash import keccak
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141


@dataclass
class EthereumWallet:
    key: PrivateKey = field(default_factory=PrivateKey)

    @property
    def address(self) -> str:
        digits = _keccak(self.key.public_key.format(compressed=False)[1:])[-20:].hex()
        marks = _keccak(digits.encode()).hex()
        return "0x" + "".join(c.upper() if int(m, 16) > 7 else c for c, m in zip(digits, marks, strict=False))

    def sign(self, text: str, *, v: int = 27, high_s: bool = False) -> str:
        raw = text.encode()
        digest = _keccak(b"\x19Ethereum Signed Message:\n" + str(len(raw)).encode() + raw)
        signature = self.key.sign_recoverable(digest, hasher=None)
        r, s, recovery_id = signature[:32], signature[32:64], signature[64]
        if high_s:
            s, recovery_id = (ORDER - int.from_bytes(s)).to_bytes(32), recovery_id ^ 1
        return "0x" + (r + s + bytes([recovery_id + v])).hex()


@dataclass
class SolanaWallet:
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def address(self) -> str:
        return base58.b58encode(self.public_key).decode()

    def sign(self, text: str | bytes) -> str:
        raw = text.encode() if isinstance(text, str) else text
        return base64.urlsafe_b64encode(self.key.sign(raw)).decode()

    def sign_on_ledger(self, text: str, domain: str) -> str:
        """Solana's proposal "Off-chain message signing", as a Ledger does it."""
        raw = text.encode()
        header = b"\xff" + b"solana offchain" + bytes([0]) + domain.encode().ljust(32, b"\0") + bytes([0, 1])
        return self.sign(header + self.public_key + len(raw).to_bytes(2, "little") + raw)


def instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def wallet_message(
    address: str,
    *,
    chain: str = "Ethereum",
    domain: str = "example.com",
    statement: str | None = "Sign in to Example",
    **fields: str | None,
) -> str:
    """What a wallet shows and signs; a field of None is left out, others are added under their names."""
    default = {
        "URI": f"https://{domain}/",
        "Version": "1",
        "Chain ID": "1" if chain == "Ethereum" else "solana:mainnet",
        "Nonce": "12345678",
        "Issued At": instant(datetime.now(UTC)),
    }
    given = {name.replace("_", " "): value for name, value in fields.items()}
    lines = [f"{domain} wants you to sign in with your {chain} account:", address, ""]
    lines += [statement, ""] if statement is not None else []
    lines += [f"{name}: {value}" for name, value in (default | given).items() if value is not None]
    return "\n".join(lines)


@contextmanager
def signing_server(wallet: EthereumWallet) -> Iterator[str]:
    """The address of a server that answers `eth_requestAccounts`, `eth_chainId` and `personal_sign` (EIP-1193)."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            match body["method"]:
                case "eth_requestAccounts":
                    result: object = [wallet.address]
                case "eth_chainId":
                    result = "0x1"
                case "personal_sign":
                    text, address = body["params"]
                    assert address.lower() == wallet.address.lower()
                    result = wallet.sign(bytes.fromhex(text[2:]).decode())
            answer = json.dumps(result).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def _keccak(data: bytes) -> bytes:
    return keccak.new(data=data, digest_bits=256).digest()
