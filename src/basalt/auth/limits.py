"""What may be asked how often: per address and kind of request, as GoTrue does, and per mailbox, number and
account, from wherever the requests come.

The limits per address act on the configured client-address header alone: without one every client of a development
machine would share an address, so they do not apply (GoTrue middleware.go performRateLimitingWithHeader). They allow
a burst up to the setting and no more, where GoTrue lets 30 requests through at once whatever is set. Where proxies are
named (`basalt.trusted_proxies`), every request has an address that can be believed, and the limits apply to all.

Everything is counted where the installation counts (`basalt.rate_limit.store`), and in the memory of this process
while that store is away.
"""

import hashlib
import math
from typing import Final, Literal

from basalt.auth.errors import AuthError
from basalt.auth.guesses import PasswordGuesses
from basalt.config import AuthSettings
from basalt.http import Request, client_network
from basalt.kv import RateCounts, RateStore

Kind = Literal[
    "anonymous",
    "sign_in",
    "refresh",
    "otp",
    "verify",
    "web3",
    "sso",
    "saml_assertion",
    "passkey",
    "factor",
    "oauth_client_register",
]
Way = Literal["email", "sms"]

MINUTE_S: Final = 60.0
HOUR_S: Final = 3600.0
FIVE_MINUTES_S: Final = 300.0


class Limits:
    """`passwords` are the limits on wrong passwords. `rates` counts for all gateways."""

    def __init__(
        self,
        settings: AuthSettings,
        *,
        header: str | None,
        knows_proxies: bool = False,
        rates: RateStore | None = None,
    ) -> None:
        limit = settings.rate_limit
        self.passwords = PasswordGuesses(
            limit.password_failures, trusts_header=header is not None, rates=rates
        )
        self._header = header
        self._knows_proxies = knows_proxies
        self._limiter = RateCounts(rates)
        self._mailboxes = RateCounts(rates)  # of its own, so that made-up addresses push out nothing else
        self._codes_sent = limit.codes_sent
        # Over all users, where it costs money or reputation; None is no limit.
        self._sent: dict[Way, int | None] = {
            "email": limit.email_sent if settings.email.smtp.enabled and settings.email.smtp.host else None,
            "sms": limit.sms_sent if _has_sms_provider(settings) else None,
        }
        self._rates: dict[Kind, tuple[int, float]] = {
            "anonymous": (limit.anonymous_users, HOUR_S),
            "sign_in": (limit.sign_in_sign_ups, FIVE_MINUTES_S),
            "refresh": (limit.token_refresh, FIVE_MINUTES_S),
            "otp": (limit.sign_in_sign_ups, FIVE_MINUTES_S),
            "verify": (limit.token_verifications, FIVE_MINUTES_S),
            "web3": (limit.web3, FIVE_MINUTES_S),
            "sso": (limit.sso, FIVE_MINUTES_S),
            "saml_assertion": (limit.saml_assertion, FIVE_MINUTES_S),
            "passkey": (limit.passkey, FIVE_MINUTES_S),
            "factor": (limit.factor, MINUTE_S),
            "oauth_client_register": (limit.oauth_client_register, HOUR_S),
        }

    async def check(self, kind: Kind, request: Request) -> None:
        """Raises AuthError over_request_rate_limit with `Retry-After` in seconds."""
        if not self._knows_address(request):
            return
        limit, per_s = self._rates[kind]
        key = f"auth:{kind}:{request.prefix}{request.path}:{client_network(request.client_ip)}"
        wait_s = await self._limiter.take(key, limit, per_s) if limit else per_s
        if wait_s is not None:
            raise AuthError("over_request_rate_limit", headers=[("Retry-After", str(math.ceil(wait_s)))])

    async def check_sending(self, way: Way, address: str) -> None:
        """Count a message that is about to be sent. Raises AuthError over_email_send_rate_limit or
        over_sms_send_rate_limit."""
        await self._check_mailbox(way, address)
        total = self._sent[way]
        if total is None:
            return
        wait_s = await self._limiter.take(f"auth:sent:{way}", total, HOUR_S) if total else HOUR_S
        if wait_s is not None:
            raise _over(way, wait_s)

    async def pretend_sending(self, way: Way, address: str, purpose: str, max_frequency_s: float) -> None:
        """For an address without an account: raise what `check_sending` and the shortest time between two messages
        would raise for one with an account, so that no limit tells them apart."""
        if max_frequency_s:
            key = f"auth:decoy:{purpose}:{_digest(address)}"
            wait_s = await self._mailboxes.take(key, 1, max_frequency_s)
            if wait_s is not None:
                message = f"For security purposes, you can only request this after {int(wait_s)} seconds."
                raise AuthError(_code(way), message)
        await self._check_mailbox(way, address)
        total = self._sent[way]
        if total is not None:
            wait_s = await self._limiter.wait_s(f"auth:sent:{way}", total, HOUR_S) if total else HOUR_S
            if wait_s is not None:
                raise _over(way, wait_s)

    def _knows_address(self, request: Request) -> bool:
        if self._header is None:
            return False
        return self._knows_proxies or self._header.lower() in request.headers

    async def _check_mailbox(self, way: Way, address: str) -> None:
        if not self._codes_sent:
            return
        wait_s = await self._mailboxes.take(f"auth:codes:{way}:{_digest(address)}", self._codes_sent, HOUR_S)
        if wait_s is not None:
            raise _over(way, wait_s)


def _has_sms_provider(settings: AuthSettings) -> bool:
    sms = settings.sms
    providers = (sms.twilio, sms.twilio_verify, sms.messagebird, sms.textlocal, sms.vonage)
    return any(provider.enabled for provider in providers)


def _code(way: Way) -> str:
    return "over_email_send_rate_limit" if way == "email" else "over_sms_send_rate_limit"


def _over(way: Way, wait_s: float) -> AuthError:
    return AuthError(_code(way), headers=[("Retry-After", str(math.ceil(wait_s)))])


def _digest(address: str) -> str:
    """Keys of one length, whatever was sent as an address."""
    return hashlib.sha256(address.lower().encode()).hexdigest()[:32]
