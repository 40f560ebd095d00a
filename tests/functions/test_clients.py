"""Functions through unmodified supabase-js and supabase-py."""

import uuid

import pytest
from supabase import FunctionsHttpError, FunctionsRelayError, create_async_client

from tests.contract.conftest import collect_sockets, run_steps  # noqa: F401  the fixture is for every test here
from tests.functions.calling import token_of
from tests.server import Server

pytestmark = [
    pytest.mark.req("P9", "P3"),
    # supabase-py leaves the sockets of its HTTP clients to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Use FunctionRegion:UserWarning"),
]


def test_supabase_js_calls_functions(server: Server) -> None:
    run_steps("functions.mjs", server, BASALT_TOKEN=token_of(server, str(uuid.uuid4())))


async def test_supabase_py_calls_functions(server: Server) -> None:
    supabase = await create_async_client(server.url, server.publishable_key)
    functions = supabase.functions
    seen = await functions.invoke("answers/mirror", {"body": {"name": "Ada"}, "headers": {"x-own": "yes"}})
    assert b'"x-own":"yes"' in seen
    typed = await functions.invoke("echo", {"body": {}, "responseType": "json", "region": "eu-west-1"})
    assert typed["role"] == "anon"
    assert await functions.invoke("answers/bytes") == b"\x00\xff"
    with pytest.raises(FunctionsHttpError) as refused:
        await functions.invoke("answers/refused")
    assert refused.value.status == 418
    with pytest.raises(FunctionsRelayError):
        await functions.invoke("echo", {"headers": {"Authorization": "Bearer nonsense"}})
    functions.set_auth(token_of(server, str(uuid.uuid4())))
    assert (await functions.invoke("echo", {"body": {}, "responseType": "json"}))["role"] == "authenticated"
