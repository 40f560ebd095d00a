"""Time-based codes (RFC 6238) as authenticator apps make them: SHA-1, six digits, thirty seconds.

One step of clock difference either way is allowed, as in GoTrue (mfa.go verifyTOTPFactor, `Skew: 1`).
"""

import binascii
import time
from collections.abc import Iterator
from hmac import compare_digest
from typing import Final
from urllib.parse import quote, urlencode

import pyotp
import segno

from basalt.auth.errors import AuthError

DIGITS: Final = 6
STEP_S: Final = 30
SKEW: Final = 1
MAX_URI_LENGTH: Final = 1000  # beyond that phones cannot read the code off a screen
QUIET_ZONE: Final = 4
MODULE_SIZE: Final = 3


class _Codes(pyotp.HOTP):
    """Secrets of any length: rows taken over from another server may have short ones."""

    min_secret_length_bits = 0


def new_secret() -> str:
    """160 bits in base32, without padding."""
    return pyotp.random_base32(32)


def provisioning_uri(secret: str, issuer: str, account: str) -> str:
    """What the QR code says (Key URI Format of Google Authenticator). Raises AuthError validation_failed when it is
    too long to be shown.

    >>> provisioning_uri("JBSWY3DPEHPK3PXP", "My App", "ada@example.com")
    'otpauth://totp/My%20App:ada@example.com?algorithm=SHA1&digits=6&issuer=My%20App&period=30&secret=JBSWY3DPEHPK3PXP'
    """
    # A colon of the issuer's own, as in `localhost:3000`, must not look like the one between the two.
    label = f"{quote(issuer, safe='')}:{quote(account, safe='@')}"
    parameters = {
        "algorithm": "SHA1",
        "digits": DIGITS,
        "issuer": issuer,
        "period": STEP_S,
        "secret": secret,
    }
    uri = f"otpauth://totp/{label}?{urlencode(parameters, quote_via=quote)}"
    if len(uri) > MAX_URI_LENGTH:
        raise AuthError("validation_failed", "issuer is too long to be shown as a QR code")
    return uri


def render_qr_code(text: str) -> str:
    """An SVG. Some milliseconds of work. Clients put it behind `data:image/svg+xml;utf-8,` as it is, so it must not
    hold a `#`, which would end such a URL.

    >>> svg = render_qr_code("otpauth://totp/a?secret=b")
    >>> svg.startswith('<svg xmlns="http://www.w3.org/2000/svg"'), "#" in svg
    (True, False)
    """
    rows = [bytes(row) for row in segno.make_qr(text, error="m").matrix]
    size = len(rows) + 2 * QUIET_ZONE
    path = "".join(
        f"M{x + QUIET_ZONE} {y + QUIET_ZONE}h{width}v1h-{width}z"
        for y, row in enumerate(rows)
        for x, width in _runs(row)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size * MODULE_SIZE}" height="{size * MODULE_SIZE}" '
        f'viewBox="0 0 {size} {size}" shape-rendering="crispEdges">'
        f'<rect width="{size}" height="{size}" fill="white"/><path d="{path}" fill="black"/></svg>'
    )


def matching_step(secret: str, code: str, *, now: float | None = None) -> int | None:
    """The newest time step around now whose code this is; None when there is none, also for a secret that is no
    base32.

    >>> matching_step("JBSWY3DPEHPK3PXP", "996554", now=30.0), matching_step("JBSWY3DPEHPK3PXP", "996554", now=600.0)
    (1, None)
    """
    try:
        codes = _Codes(secret, digits=DIGITS)
    except binascii.Error:
        return None
    current = int((time.time() if now is None else now) // STEP_S)
    given = code.strip().encode()
    steps = range(max(current - SKEW, 0), current + SKEW + 1)
    right = [step for step in steps if compare_digest(codes.at(step).encode(), given)]
    return right[-1] if right else None


def _runs(row: bytes) -> Iterator[tuple[int, int]]:
    """Start and width of each run of dark modules.

    >>> list(_runs(bytes([1, 1, 0, 1])))
    [(0, 2), (3, 1)]
    """
    start = None
    for x, module in enumerate((*row, 0)):
        if module and start is None:
            start = x
        elif not module and start is not None:
            yield start, x - start
            start = None
