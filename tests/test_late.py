"""What is imported late is there when it is asked for, and is not imported before."""

import asyncio
import subprocess
import sys

import pytest

from basalt.auth.routes import ROUTES, modules_in_use
from basalt.auth.sign_in import GRANTS
from basalt.config import AuthSettings, PasskeySettings, SamlSettings, WalletSettings, Web3Settings
from basalt.late import LateFunction, LateModule, import_all

LARGE = (
    "lxml",
    "signxml",
    "webauthn",
    "cbor2",
    "coincurve",
    "awscrt",
    "obstore",
    "rapidfuzz",
    "jinja2",
    "jsonpath_rfc9535",
    "pydantic",  # of functions' authors
    "rich",
    "typer",
)


@pytest.mark.req("P1")
def test_the_processes_that_stay_start_without_what_few_projects_use() -> None:
    code = (
        "import sys, basalt.start, basalt.worker; from basalt.functions import JobPerformer;"
        " import basalt.gateway.serve; print([name for name in {LARGE!r} if name in sys.modules])"
    ).replace("{LARGE!r}", repr(LARGE))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_late_handler_is_there() -> None:
    handlers = [route.handler for route in ROUTES.routes] + list(GRANTS.values())
    late = [handler for handler in handlers if isinstance(handler, LateFunction)]
    assert len(late) > 10
    for handler in late:
        handler.load()


def test_what_the_settings_turn_on_is_imported_at_start() -> None:
    settings = AuthSettings(
        saml=SamlSettings(enabled=True),
        passkey=PasskeySettings(enabled=True),
        web3=Web3Settings(solana=WalletSettings(enabled=True)),
    )
    names = list(modules_in_use(settings))
    assert {name.split(".")[2] for name in names} == {"sso", "passkeys", "web3"}
    import_all(names)
    assert list(modules_in_use(AuthSettings())) == []


async def test_calls_that_come_at_once_import_once_and_all_are_answered() -> None:
    function = LateFunction("asyncio", "sleep")
    assert await asyncio.gather(*(function(0, result=number) for number in range(5))) == [0, 1, 2, 3, 4]
    with pytest.raises(AttributeError):
        await LateFunction("asyncio", "no_such_function")()


def test_a_late_module_is_asked_like_any_other() -> None:
    assert LateModule("json").loads("[1]") == [1]
    with pytest.raises(ModuleNotFoundError):
        _ = LateModule("no_such_module").anything
