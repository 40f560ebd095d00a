"""The adapter to Paymob against one of our own: each step, and each way to fail at it."""

import asyncio
import json

import pytest

from tests.fakes.small_server import Reply

from . import pictures  # noqa: F401  puts the functions' modules on the path
from .paymob import STEPS, Failure, Paymob

# isort: split
from _shared import paymob as adapter

pytestmark = pytest.mark.req("S7")
ORDER = adapter.Order("sparky-1", "20 credits", 4900, "EGP")


def answers(body: object) -> Failure:
    return Failure(Reply(200, json.dumps(body).encode()))


FAILURES = {
    "silence": Failure(Reply(pause_s=1)),
    "dripping": Failure(Reply(body=b"{" + b" " * 40, drip_s=0.05)),
    "server error": Failure(Reply(500, b"<h1>Server Error (500)</h1>")),
    "bad gateway": Failure(Reply(502, b"\xff\xfe")),
    "elsewhere": Failure(Reply(302, b"", {"location": "https://example.com"})),
    "throttled": Failure(Reply(429, b'{"detail": "Request was throttled."}')),
    "cut": Failure(Reply(is_cut=True)),
    "no JSON": Failure(Reply(200, b"<html>")),
    "no text": Failure(Reply(200, b"\xff\xfe\x00")),
    "a list": answers([]),
    "empty": answers({}),
    "null": answers(None),
    "nulls": answers({"token": None, "id": None, "redirect_url": None}),
    "other kinds": answers({"token": {"a": 1}, "id": "7", "redirect_url": 7}),
    "out of range": answers({"token": "", "id": 2**63, "redirect_url": "javascript:alert(1)"}),
    "flags": answers({"token": True, "id": True, "redirect_url": True}),
}


@pytest.mark.parametrize("step", STEPS)
def test_each_way_to_fail_is_one_error_at_each_step(paymob: Paymob, step: str) -> None:
    account = adapter.read_account({**paymob.secrets, "PAYMOB_TIMEOUT_S": "0.3"})

    async def fail_at_step() -> None:
        calls = {
            STEPS[0]: lambda: adapter.fetch_token(account),
            STEPS[1]: lambda: adapter.register_order(account, "token", ORDER),
            STEPS[2]: lambda: adapter.fetch_payment_key(
                account, "token", ORDER, 7, method="card", billing={}
            ),
            STEPS[3]: lambda: adapter.request_wallet(account, "key", "01010101010"),
        }
        for name, failure in FAILURES.items():
            with paymob.failing(step, failure):
                try:
                    given = await calls[step]()
                except adapter.PaymobError:
                    continue
                pytest.fail(f"{name}: {given!r}")

    asyncio.run(fail_at_step())


def test_nothing_listens() -> None:
    account = adapter.Account("key", "secret", 1, None, "1", "http://127.0.0.1:9")
    with pytest.raises(adapter.PaymobError):
        asyncio.run(adapter.fetch_token(account))


def test_four_steps_that_take_their_time_end_within_the_functions_minute() -> None:
    assert 4 * adapter.TIMEOUT_S < 60
