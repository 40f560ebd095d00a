"""The supervision of functions written for Deno: limits, crashes, logs, the end."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from basalt.functions import FunctionError
from basalt.functions.deno import find_deno, start_deno
from basalt.functions.function_process import FunctionProcess
from tests.functions.deno_processes import (
    Start,
    a_call,
    answer_of,
    describe,
    failure_of,
    needs_deno,
    stream_of,
    whole_body,
    write_functions,
)

pytestmark = [pytest.mark.req("P9"), needs_deno]


async def error_of(process: FunctionProcess, how: str, timeout_s: float = 10) -> FunctionError:
    with pytest.raises(FunctionError) as caught:
        await process.call(a_call("/misbehave", query=f"how={how}"), timeout_s=timeout_s)
    return caught.value


async def state_of(process: FunctionProcess) -> dict[str, int]:
    state: dict[str, int] = json.loads(await whole_body(await answer_of(process, a_call("/misbehave"))))
    return state


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


async def test_an_error_is_for_the_log_and_not_for_the_caller(start: Start) -> None:
    failure = await failure_of(await start("misbehave"), a_call("/misbehave", query="how=throw"))
    assert (failure.code, failure.status) == ("SERVER_ERROR", 500)
    assert "hunter2" not in failure.message
    assert failure.trace is not None
    assert "hunter2" in failure.trace
    assert "misbehave/index.ts:9:13" in failure.trace


async def test_a_handler_that_returns_nothing_has_failed(start: Start) -> None:
    process = await start("misbehave")
    failure = await failure_of(process, a_call("/misbehave", query="how=nothing"))
    assert "returned no Response" in (failure.trace or "")
    assert await state_of(process)


async def test_a_websocket_is_refused_in_words(start: Start) -> None:
    error = await error_of(await start("misbehave"), "socket")
    assert (error.code, error.status) == ("NOT_SUPPORTED", 501)
    assert "WebSocket" in error.message


async def test_a_rejection_that_nobody_waits_for_is_logged_and_survived(start: Start) -> None:
    lines: list[tuple[str, str]] = []
    process = await start("misbehave", log=lambda *line: lines.append(line))
    answer = await answer_of(process, a_call("/misbehave", query="how=reject"))
    assert answer.body == b"still here"
    await until(lambda: "nor for this" in str(lines))
    assert any("nobody waits for this" in line and tag == "request-1" for tag, line in lines)
    assert not process.is_lost


async def test_a_process_that_ends_fails_its_calls_and_no_others(start: Start) -> None:
    first, other = await start("misbehave"), await start("misbehave")
    waiting = asyncio.create_task(error_of(first, "deaf"))
    await until(lambda: first.in_flight == 1)
    assert (await error_of(first, "exit")).code == "FUNCTION_CRASHED"
    assert (await waiting).code == "FUNCTION_CRASHED"
    assert first.is_lost
    assert (await state_of(other))["pid"] == other.pid


async def test_a_killed_process_is_noticed(start: Start) -> None:
    process = await start("misbehave")
    os.kill(process.pid, signal.SIGKILL)
    await until(lambda: process.is_lost)
    assert (await error_of(process, "")).status == 502


async def test_a_late_handler_hears_of_it_and_the_process_goes_on(start: Start) -> None:
    process = await start("misbehave")
    error = await error_of(process, "wait", timeout_s=0.2)
    assert (error.code, error.status) == ("FUNCTION_TIMEOUT", 504)
    await until(lambda: process.in_flight == 0)
    assert await state_of(process) == {"aborted": 1, "pid": process.pid}


async def test_a_caller_who_leaves_is_heard_of_too(start: Start) -> None:
    process = await start("misbehave")
    call = asyncio.create_task(process.call(a_call("/misbehave", query="how=wait"), timeout_s=10))
    await until(lambda: process.in_flight == 1)
    await asyncio.sleep(0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: process.in_flight == 0)
    assert (await state_of(process))["aborted"] == 1


async def test_an_endless_loop_costs_the_process(start: Start) -> None:
    process = await start("misbehave")
    started = time.monotonic()
    assert (await error_of(process, "loop", timeout_s=0.2)).status == 504
    await until(lambda: not is_running(process.pid))
    assert process.is_lost
    assert time.monotonic() - started < 4


async def test_a_handler_that_cannot_be_stopped_ends_with_the_process_once_it_is_alone(start: Start) -> None:
    process = await start("misbehave")
    neighbour = asyncio.create_task(error_of(process, "wait", timeout_s=2.5))
    assert (await error_of(process, "deaf", timeout_s=0.2)).status == 504
    await asyncio.sleep(1.5)
    assert not process.is_lost
    assert (await neighbour).code == "FUNCTION_TIMEOUT"
    await until(lambda: process.is_lost)


async def test_a_full_heap_costs_the_process(start: Start) -> None:
    process = await start("misbehave", memory_mb=64)
    assert (await error_of(process, "heap", timeout_s=30)).code == "FUNCTION_CRASHED"


async def test_memory_outside_the_heap_is_bounded_as_well(start: Start) -> None:
    process = await start("misbehave", memory_mb=128)
    failure = await failure_of(process, a_call("/misbehave", query="how=buffers"), timeout_s=30)
    assert "allocation failed" in (failure.trace or "")
    assert process.rss_mb > 128


async def test_an_answer_that_breaks_off_does_not_look_whole_and_costs_no_process(start: Start) -> None:
    process = await start("misbehave")
    with pytest.raises(FunctionError) as caught:
        await whole_body(await answer_of(process, a_call("/misbehave", query="how=break")))
    assert caught.value.code == "FUNCTION_CRASHED"
    await until(lambda: process.in_flight == 0)
    assert await state_of(process)


async def test_a_stream_that_nobody_reads_is_ended(start: Start, tmp_path: Path) -> None:
    text = """
let pulled = 0, cancelled = false;
Deno.serve((req) => new URL(req.url).search ? Response.json({ pulled, cancelled }) : new Response(new ReadableStream({
  pull(controller) { pulled += 1; controller.enqueue(new Uint8Array(65536)); },
  cancel() { cancelled = true; },
})));
"""
    process = await start("flood", write_functions(tmp_path, {"flood/index.ts": text}), total_timeout_s=1.0)
    closed = await answer_of(process, a_call("/flood"))
    assert len(await anext(stream_of(closed))) > 0
    assert await _settled(process) < 64, "what nobody reads is not made"
    await stream_of(closed).aclose()  # type: ignore[attr-defined]
    await until(lambda: process.in_flight == 0)
    assert json.loads(await whole_body(await answer_of(process, a_call("/flood", query="how"))))["cancelled"]
    late = stream_of(await answer_of(process, a_call("/flood")))
    with pytest.raises(FunctionError, match="in time"):
        await _read_on(late)


async def _read_on(stream: AsyncIterator[bytes]) -> None:
    async for _ in stream:
        pass


async def _settled(process: FunctionProcess) -> int:
    """How many pieces were made when no more are."""
    last = -1
    while True:
        answer = await answer_of(process, a_call("/flood", query="how"))
        pulled: int = json.loads(await whole_body(answer))["pulled"]
        if pulled == last:
            return pulled
        last = pulled
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("how", ["read", "write", "run"])
async def test_a_function_has_no_business_with_the_machine(start: Start, how: str) -> None:
    failure = await failure_of(await start("misbehave"), a_call("/misbehave", query=f"how={how}"))
    assert "NotCapable" in (failure.trace or "")


async def test_lines_of_calls_side_by_side_are_told_apart(start: Start, tmp_path: Path) -> None:
    text = """
console.log("loaded");
Deno.serve(async (req) => {
  const id = req.headers.get("x-request-id");
  for (let i = 0; i < 3; i++) {
    console.log(id, i);
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 20));
  }
  console.error("two\\nlines", { at: [1, 2] });
  return new Response();
});
"""
    lines: list[tuple[str, str]] = []
    functions = write_functions(tmp_path, {"talk/index.ts": text})
    process = await start("talk", functions, log=lambda *line: lines.append(line))
    calls = [a_call("/talk") for _ in range(5)]
    for number, call in enumerate(calls):
        call.request_id = f"r{number}"
    await asyncio.gather(*(answer_of(process, call) for call in calls))
    await until(lambda: len(lines) == 1 + 5 * 5)
    assert lines[0] == ("", "loaded")
    for number in range(5):
        own = [line for tag, line in lines if tag == f"r{number}"]
        assert own[:3] == [f"r{number} {i}" for i in range(3)]
        assert own[3:] == ["two", "lines { at: [ 1, 2 ] }"]


async def test_many_calls_at_once_keep_their_answers_apart(start: Start) -> None:
    process = await start("greet")

    async def ask(number: int) -> None:
        answer = await answer_of(process, a_call("/greet", body=b'{"name": "%d"}' % number))
        assert json.loads(await whole_body(answer)) == {"message": f"Hello {number}!"}

    await asyncio.gather(*(ask(number) for number in range(300)))
    assert process.in_flight == 0


async def test_nothing_is_left_of_a_process_that_was_closed(start: Start) -> None:
    process = await start("greet")
    folder = _folder_of(process.pid)
    assert process.rss_mb > 10
    assert folder.stat().st_mode & 0o777 == 0o700
    await process.close()
    assert process.is_lost
    assert not is_running(process.pid)
    assert not folder.exists()


def _folder_of(pid: int) -> Path:
    main = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[-2]
    return Path(main).parent


async def test_a_loop_does_not_hold_up_the_end(start: Start) -> None:
    process = await start("misbehave")
    call = asyncio.create_task(error_of(process, "loop"))
    await asyncio.sleep(0.1)
    started = time.monotonic()
    await process.close()
    assert time.monotonic() - started < 3
    assert (await call).code == "FUNCTION_CRASHED"


def test_no_function_outlives_the_one_who_started_it(deno_functions: Path, tmp_path: Path) -> None:
    script = f"""
        import asyncio, os
        from pathlib import Path
        from basalt.functions.deno import start_deno
        from tests.functions.deno_processes import a_call, describe

        async def main():
            function = describe(Path({str(deno_functions)!r}), "misbehave", Path({str(deno_functions)!r}).parent)
            process = await start_deno(function, os.environ)
            print(process.pid, flush=True)
            await process.call(a_call("/misbehave", query="how=loop"), timeout_s=60)

        asyncio.run(main())
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        time.sleep(0.2)  # into the loop, where it hears nothing
        assert is_running(pid)
        starter.kill()
    deadline = time.monotonic() + 5
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_without_deno_the_command_to_install_it_is_named(
    deno_functions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _: "/nonexistent")
    assert find_deno({"PATH": "/nonexistent"}) is None
    with pytest.raises(FunctionError) as caught:
        await start_deno(describe(deno_functions, "greet", deno_functions.parent), {"PATH": "/nonexistent"})
    assert (caught.value.code, caught.value.status) == ("DENO_MISSING", 501)
    assert caught.value.hint == "Run: pip install 'basalt[deno]'"
