"""Jobs that functions perform, in the worker's processes, over a database of the test's own."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from basalt.access import load_project_keys
from basalt.functions import FunctionError, JobPerformer
from basalt.jobs import DiscardJob, Job, RetryJob
from basalt.postgres import DatabaseAccess
from tests.projects import settings_of, write_project

pytestmark = pytest.mark.req("P9", "P10")

FUNCTIONS = {
    "config.toml": """
project_id = "performing"
[basalt.queues.quick]
timeout = "600ms"
[functions.index]
enabled = false
""",
    "functions/resize/index.py": """
import asyncio, os
from basalt.functions import Context, DiscardJob, FunctionError, Job, RetryJob

async def perform(job: Job, context: Context) -> object:
    match job.payload["how"]:
        case "tell":
            await job.report(0.5, "half")
            role = await context.db.fetch_value("select current_user::text")
            print("performing", job.id)
            return [job.id, job.name, job.queue, job.attempt, job.max_attempts, job.key, job.request_id,
                job.created_at.isoformat(), role, context.request_id, context.role]
        case "retry":
            raise RetryJob("not yet", delay_s=7)
        case "discard":
            raise DiscardJob("never")
        case "refuse":
            raise FunctionError("NO_PICTURE", "There is no picture", status=404)
        case "busy":
            raise FunctionError("BUSY", "Later", status=429, headers=[("retry-after", "30")])
        case "crash":
            raise RuntimeError("of the author")
        case "exit":
            os._exit(1)
        case "sleep":
            await job.report(0)
            try:
                await asyncio.sleep(60)
            finally:
                print("cancelled in order")
        case "large":
            return "x" * 1_000_000
""",
    "functions/called/index.py": """
from basalt.functions import Response

async def handler(request, context):
    how = request.json()["how"]
    if how == "tell":
        seen = [request.headers[name] for name in ("x-job-id", "x-job-attempt")]
        return [request.method, request.path, *seen, context.role]
    if how == "stream":
        return Response(parts())
    headers = {"retry-after": "12"} if how == "wait" else {}
    return Response({"why": how}, status=503 if how == "wait" else 500, headers=headers)

async def parts():
    yield "[1,"
    yield "2]"
""",
    "functions/broken/index.py": "def\n",
}


@pytest.fixture
async def performer(database: DatabaseAccess, tmp_path: Path) -> AsyncIterator[JobPerformer]:
    settings = settings_of(write_project(tmp_path, FUNCTIONS))
    performer = JobPerformer(settings, database, load_project_keys(settings.state_dir, settings))
    await performer.open()
    yield performer
    await performer.close()


def a_job(name: str = "resize", how: str = "tell", **fields: Any) -> Job:
    async def nothing(fraction: float, note: str | None) -> None:
        return None

    given = {
        "id": 42,
        "name": name,
        "queue": "default",
        "payload": {"how": how},
        "attempt": 2,
        "max_attempts": 10,
        "key": "once",
        "request_id": "request-1",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "report": nothing,
    }
    return Job(**{**given, **fields})


async def test_a_function_performs_a_job_as_service_role(performer: JobPerformer) -> None:
    reports: list[tuple[float, str | None]] = []

    async def report(fraction: float, note: str | None) -> None:
        reports.append((fraction, note))

    result = await performer.perform(a_job(report=report))
    facts = [42, "resize", "default", 2, 10, "once", "request-1", "2026-01-01T00:00:00+00:00"]
    assert result == [*facts, "service_role", "request-1", "service_role"]
    assert reports == [(0.5, "half")]


async def test_a_function_without_perform_is_called_with_the_payload(performer: JobPerformer) -> None:
    assert await performer.perform(a_job("called")) == ["POST", "/called", "42", "2", "service_role"]
    assert await performer.perform(a_job("called", "stream")) == [1, 2]
    with pytest.raises(RetryJob, match="called answered 503") as waiting:
        await performer.perform(a_job("called", "wait"))
    assert waiting.value.delay_s == 12
    with pytest.raises(FunctionError, match=r'called answered 500: \{"why":"fail"\}'):
        await performer.perform(a_job("called", "fail"))


async def test_how_a_job_fails_is_told(performer: JobPerformer) -> None:
    with pytest.raises(RetryJob, match="not yet") as retry:
        await performer.perform(a_job(how="retry"))
    assert retry.value.delay_s == 7
    with pytest.raises(RetryJob, match="BUSY: Later") as busy:
        await performer.perform(a_job(how="busy"))
    assert busy.value.delay_s == 30
    with pytest.raises(DiscardJob, match="never"):
        await performer.perform(a_job(how="discard"))
    with pytest.raises(DiscardJob, match="There is no function nobody"):
        await performer.perform(a_job("nobody"))
    with pytest.raises(FunctionError, match="NO_PICTURE: There is no picture"):
        await performer.perform(a_job(how="refuse"))
    with pytest.raises(FunctionError, match=r"SERVER_ERROR: RuntimeError: of the author"):
        await performer.perform(a_job(how="crash"))
    with pytest.raises(FunctionError, match=r"broken/index\.py, line 1"):
        await performer.perform(a_job("broken"))
    assert await performer.perform(a_job(how="large")) is None  # too much to keep


async def test_a_process_that_dies_or_takes_too_long_is_a_failed_attempt(performer: JobPerformer) -> None:
    with pytest.raises(FunctionError, match="ended before it answered"):
        await performer.perform(a_job(how="exit"))
    with pytest.raises(FunctionError, match=r"did not answer within 0\.6 seconds"):
        await performer.perform(a_job(how="sleep", queue="quick"))


async def test_a_cancelled_job_is_cancelled_in_the_function(
    performer: JobPerformer, capfd: pytest.CaptureFixture[str]
) -> None:
    has_begun = asyncio.Event()

    async def report(fraction: float, note: str | None) -> None:
        has_begun.set()

    task = asyncio.create_task(performer.perform(a_job(how="sleep", report=report)))
    await has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    seen = ""
    async with asyncio.timeout(5):
        while "cancelled in order" not in seen:
            await asyncio.sleep(0.05)
            seen += capfd.readouterr().err
