"""Runs that meet each other, and runs that fail at every step, with Gemini in the middle: nobody is charged twice or
for nothing, nothing that was paid is lost, and no picture stays that no gallery shows."""

import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx2
import psycopg
import pytest
from psycopg.rows import dict_row

from basalt.postgres import load_access
from tests.fakes.small_server import Reply
from tests.server import Server

from .conftest import CLIENT_WARNINGS, START_CREDITS, owner
from .gemini import (
    ANALYSIS_MODEL,
    IMAGE_MODEL,
    Gemini,
    blocked_reply,
    candidate_reply,
    quota_reply,
    status_reply,
    text_reply,
)
from .studio import Sitter, a_sitter, code_of, fetch_image, succeeded, wait_for
from .test_gallery import make_old, sweep

pytestmark = [
    *CLIENT_WARNINGS,
    pytest.mark.req("S4"),
    pytest.mark.usefixtures("previewed", "drawn_by_gemini"),
]


@pytest.fixture(scope="module")
def previewed(sparky: Server) -> Iterator[tuple[Sitter, str]]:
    """Somebody who had a picture edited and analysed while there was only the local preview, and its path."""
    with a_sitter(sparky) as somebody:
        path = somebody.upload()
        assert somebody.make("enhance", path)["model"] == "local-preview"
        assert somebody.analyse("photo_quality", path)["model"] == "local-preview"
        yield somebody, path


@pytest.fixture
def sitter(sparky: Server, gemini: Gemini) -> Iterator[Sitter]:
    with a_sitter(sparky) as somebody:
        yield somebody


@pytest.fixture
def crowd() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def assert_nothing_happened(sitter: Sitter) -> None:
    assert (sitter.credits(), sitter.files(), sitter.gallery(), sitter.running()) == (
        START_CREDITS,
        [],
        [],
        0,
    )


def assert_made_once(sitter: Sitter) -> None:
    assert (sitter.credits(), sitter.running()) == (START_CREDITS - 1, 0)
    (row,) = sitter.gallery()
    assert sitter.files() == [row["result_path"]]


# Identical requests


@pytest.mark.req("S6")
def test_gemini_makes_the_picture(sitter: Sitter, gemini: Gemini) -> None:
    made = sitter.make("hair_color", sitter.upload(), color_id="copper")
    assert made["model"] == IMAGE_MODEL
    assert fetch_image(made["url"]).size == (300, 400)
    assert "Copper (#b3592b)" in gemini.calls[0]["contents"][0]["parts"][0]["text"]
    assert sitter.make("hairstyle", sitter.upload(), hairstyle_id="bob")["credits_left"] == START_CREDITS - 5


@pytest.mark.req("S5", "S6")
def test_gemini_makes_the_analysis(sitter: Sitter, gemini: Gemini) -> None:
    told = sitter.analyse("face_analysis", sitter.upload())
    assert told["analysis"]["face_shape"] == "oval"
    assert (sitter.credits(), sitter.files()) == (START_CREDITS - 1, [])


def test_what_the_preview_made_is_not_what_gemini_is_asked_for(
    previewed: tuple[Sitter, str], gemini: Gemini
) -> None:
    sitter, path = previewed
    made, told = sitter.make("enhance", path), sitter.analyse("photo_quality", path)
    assert (made["model"], made["cached"]) == (IMAGE_MODEL, False)
    assert (told["model"], told["cached"]) == (ANALYSIS_MODEL, False)
    assert sitter.make("enhance", path)["generation_id"] == made["generation_id"]
    assert len(gemini.calls) == 2


def test_identical_requests_at_once_call_the_model_once(
    sitter: Sitter, gemini: Gemini, crowd: ThreadPoolExecutor
) -> None:
    path = sitter.upload()
    gemini.gate.clear()
    asked = [crowd.submit(sitter.make, "enhance", path) for _ in range(5)]
    gemini.wait_for_calls(1)
    wait_for(lambda: have_looked_for_a_run(sitter, path, 5))
    gemini.gate.set()
    answers = [future.result() for future in asked]
    assert len(gemini.calls) == 1
    assert len({answer["generation_id"] for answer in answers}) == 1
    assert sorted(answer["credits_used"] for answer in answers) == [0, 0, 0, 0, 1]
    assert_made_once(sitter)


def have_looked_for_a_run(sitter: Sitter, path: str, count: int) -> bool:
    """So many calls have fetched the original, and the lease is old enough for all of them to have seen it."""
    fetched = f'"method":"GET","path":"/storage/v1/object/user_uploads/{path}"'
    if sitter.server.log.read_text("utf-8").count(fetched) < count:
        return False
    with owner(sitter.server) as admin:
        found = admin.execute(
            "select from private.leases where user_id = %s and created_at < clock_timestamp() - interval '0.5 s'",
            [sitter.id],
        )
        return found.fetchone() is not None


def test_identical_requests_share_a_refusal_too(
    sitter: Sitter, gemini: Gemini, crowd: ThreadPoolExecutor
) -> None:
    path = sitter.upload()
    gemini.gate.clear()
    gemini.replies.append(blocked_reply("SAFETY"))
    asked = [crowd.submit(sitter.ask, "enhance", path) for _ in range(4)]
    gemini.wait_for_calls(1)
    wait_for(lambda: have_looked_for_a_run(sitter, path, 4))
    gemini.gate.set()
    for future in asked:
        assert code_of(future.result()) == (422, "MODEL_REFUSED")
        assert future.result().json()["error"]["details"] == {"reason": "SAFETY"}
    assert len(gemini.calls) == 1
    assert_nothing_happened(sitter)
    assert not sitter.make("enhance", path)["cached"]  # whoever asks later asks the model anew
    assert_made_once(sitter)


@pytest.mark.req("S5")
def test_an_analysis_that_fails_costs_nothing_and_identical_ones_share_a_run(
    sitter: Sitter, gemini: Gemini, crowd: ThreadPoolExecutor
) -> None:
    gemini.replies.append(text_reply("no JSON"))
    answer = sitter.ask("face_analysis", sitter.upload(), "analyze-face")
    assert code_of(answer) == (502, "MODEL_FAILED")
    with changed(
        sitter.server,
        "alter table cache.kv_store add constraint broken check (user_id is null) not valid",
        "alter table cache.kv_store drop constraint broken",
    ):
        assert sitter.ask("face_analysis", sitter.upload(), "analyze-face").status_code == 400
    assert_nothing_happened(sitter)
    path = sitter.upload()
    gemini.gate.clear()
    asked = [crowd.submit(sitter.analyse, "face_analysis", path) for _ in range(4)]
    gemini.wait_for_calls(3)
    wait_for(lambda: have_looked_for_a_run(sitter, path, 4))
    gemini.gate.set()
    assert sorted(future.result()["credits_used"] for future in asked) == [0, 0, 0, 1]
    assert (len(gemini.calls), len(sitter.gallery()), sitter.files()) == (3, 1, [])
    assert (sitter.credits(), sitter.running()) == (START_CREDITS - 1, 0)


def test_different_requests_at_once_never_overdraw(
    sitter: Sitter, gemini: Gemini, crowd: ThreadPoolExecutor
) -> None:
    path = sitter.upload()
    sitter.set_credits(3)
    asked = [crowd.submit(sitter.ask, "enhance", path, strength=step / 10) for step in range(6)]
    statuses = sorted(future.result().status_code for future in asked)
    assert statuses == [200, 200, 200, 402, 402, 402]
    assert (sitter.credits(), len(gemini.calls), len(sitter.files())) == (0, 3, 3)


def test_a_run_goes_on_when_its_caller_hangs_up(sitter: Sitter, gemini: Gemini) -> None:
    path = sitter.upload()
    gemini.gate.clear()
    body = {"toolId": "enhance", "toolParameters": {}, "originalImageStoragePath": path}
    with pytest.raises(httpx2.ReadTimeout):
        sitter.call("process-image", body, timeout_s=1.5)
    gemini.wait_for_calls(1)
    gemini.gate.set()
    wait_for(sitter.gallery)
    assert sitter.make("enhance", path)["cached"]
    assert len(gemini.calls) == 1
    assert_made_once(sitter)


# Step by step


@contextmanager
def changed(server: Server, change: str, back: str) -> Iterator[None]:
    with owner(server) as admin:
        admin.execute(change)  # type: ignore[call-overload]
        try:
            yield
        finally:
            admin.execute(back)  # type: ignore[call-overload]


BEGIN_ROUTINE = "function public.begin_generation(uuid, text, text, int)"


def test_steps_1_to_4_fail_before_anything_is_begun(sitter: Sitter, gemini: Gemini) -> None:
    path = sitter.upload()
    with sitter.server.client(sitter.server.anon_key) as nobody:  # 1: who asks
        body = {"toolId": "enhance", "originalImageStoragePath": path}
        assert nobody.post("/functions/v1/process-image", json=body).status_code == 401
    with changed(  # 2: the cache cannot be asked
        sitter.server,
        f"revoke execute on {BEGIN_ROUTINE} from service_role",
        f"grant execute on {BEGIN_ROUTINE} to service_role",
    ):
        assert sitter.ask("enhance", path).status_code == 403
    sitter.set_credits(0)  # 3: credits
    assert sitter.ask("enhance", path).status_code == 402
    sitter.set_credits(START_CREDITS)
    missing = sitter.ask("enhance", f"{sitter.id}/gone.jpg")  # 4: the original
    assert code_of(missing) == (404, "SOURCE_NOT_FOUND")
    broken = sitter.upload(b"\xff\xd8 no picture")
    assert code_of(sitter.ask("enhance", broken)) == (422, "INVALID_IMAGE")
    assert gemini.calls == []
    assert_nothing_happened(sitter)


@pytest.mark.parametrize(
    ("reply", "told"),
    [(blocked_reply("PROHIBITED_CONTENT"), (422, "MODEL_REFUSED")),
     (candidate_reply([], "IMAGE_SAFETY"), (422, "MODEL_REFUSED")),
     (candidate_reply([{"text": "I cannot draw."}]), (502, "MODEL_FAILED")),
     (quota_reply("7.5s"), (503, "MODEL_BUSY")),
     (status_reply(500, "INTERNAL", "An internal error has occurred."), (502, "MODEL_FAILED")),
     (Reply(is_cut=True), (502, "MODEL_FAILED"))],
    ids=["blocked", "safety", "no-picture", "quota", "internal", "cut"],
)  # fmt: skip
def test_step_5_the_model_fails(sitter: Sitter, gemini: Gemini, reply: Reply, told: tuple[int, str]) -> None:
    path = sitter.upload()
    gemini.replies.append(reply)
    answer = sitter.ask("enhance", path)
    assert code_of(answer) == told
    assert answer.headers.get("retry-after") == ("8" if told[1] == "MODEL_BUSY" else None)
    assert_nothing_happened(sitter)
    sitter.make("enhance", path)
    assert_made_once(sitter)


def test_step_6_the_result_cannot_be_stored(sitter: Sitter) -> None:
    path = sitter.upload()
    with changed(
        sitter.server,
        "update storage.buckets set file_size_limit = 10 where id = 'generations'",
        "update storage.buckets set file_size_limit = 20971520 where id = 'generations'",
    ):
        assert sitter.ask("enhance", path).status_code == 413
        assert_nothing_happened(sitter)
    sitter.make("enhance", path)
    assert_made_once(sitter)


@pytest.mark.parametrize(
    ("change", "back"),
    [("alter table public.generations add constraint broken check (credits > 1000) not valid",
      "alter table public.generations drop constraint broken"),
     ("alter table public.credit_usage add constraint broken check (credits > 1000) not valid",
      "alter table public.credit_usage drop constraint broken"),
     ("alter table public.credit_log add constraint broken check (reason <> 'generation') not valid",
      "alter table public.credit_log drop constraint broken"),
     ("alter table cache.kv_store add constraint broken check (user_id is null) not valid",
      "alter table cache.kv_store drop constraint broken")],
    ids=["gallery", "usage", "balance", "cache"],
)  # fmt: skip
def test_steps_7_and_8_a_part_of_the_transaction_fails(sitter: Sitter, change: str, back: str) -> None:
    path = sitter.upload()
    with changed(sitter.server, change, back):
        assert sitter.ask("enhance", path).status_code == 400
        assert_nothing_happened(sitter)
    sitter.make("enhance", path)
    assert_made_once(sitter)


def test_step_8_the_credits_were_spent_meanwhile(
    sitter: Sitter, gemini: Gemini, crowd: ThreadPoolExecutor
) -> None:
    path = sitter.upload()
    gemini.gate.clear()
    asked = crowd.submit(sitter.ask, "enhance", path)
    gemini.wait_for_calls(1)
    sitter.set_credits(0)
    gemini.gate.set()
    assert code_of(asked.result()) == (402, "INSUFFICIENT_CREDITS")
    assert (sitter.credits(), sitter.files(), sitter.gallery(), sitter.running()) == (0, [], [], 0)


def test_step_8_the_run_was_ended_meanwhile(
    sitter: Sitter, gemini: Gemini, crowd: ThreadPoolExecutor
) -> None:
    path = sitter.upload()
    gemini.gate.clear()
    asked = crowd.submit(sitter.ask, "enhance", path)
    gemini.wait_for_calls(1)
    with owner(sitter.server) as admin:
        admin.execute(
            "select public.fail_generation(user_id, key, 'x') from private.leases where user_id = %s",
            [sitter.id],
        )
    gemini.gate.set()
    assert code_of(asked.result()) == (409, "NOT_RUNNING")
    assert_nothing_happened(sitter)


def test_a_run_that_was_taken_over_is_charged_once(
    sitter: Sitter, gemini: Gemini, crowd: ThreadPoolExecutor
) -> None:
    path = sitter.upload()
    gemini.gate.clear()
    first = crowd.submit(sitter.make, "enhance", path)
    gemini.wait_for_calls(1)
    sitter.expire_leases()
    second = crowd.submit(sitter.make, "enhance", path)
    gemini.wait_for_calls(2)
    gemini.gate.set()
    answers = [first.result(), second.result()]
    assert answers[0]["generation_id"] == answers[1]["generation_id"]
    assert_made_once(sitter)


# The end of a connection, of a process


@contextmanager
def held_at_the_end(
    sitter: Sitter, gemini: Gemini, crowd: ThreadPoolExecutor, path: str
) -> Iterator[tuple[Future[Any], int]]:
    """A run whose result is uploaded and whose transaction waits for the user's row; its answer to come, and the
    database session."""
    with psycopg.connect(sitter.server.database_url) as holder, owner(sitter.server) as admin:
        gemini.gate.clear()
        asked = crowd.submit(sitter.ask, "enhance", path)
        gemini.wait_for_calls(1)
        holder.execute("select from public.users where id = %s for update", [sitter.id])
        gemini.gate.set()
        session = wait_for(
            lambda: admin.execute(
                """
                select pid from pg_stat_activity
                where wait_event_type = 'Lock' and query like '%finish_generation%' and pid <> pg_backend_pid()
                """
            ).fetchone()
        )
        yield asked, session["pid"]
        holder.rollback()


def test_a_connection_that_is_lost_in_the_transaction_undoes_the_run(
    sitter: Sitter, gemini: Gemini, crowd: ThreadPoolExecutor
) -> None:
    path = sitter.upload()
    with held_at_the_end(sitter, gemini, crowd, path) as (asked, session):
        assert len(sitter.files()) == 1
        with owner(sitter.server) as admin:
            admin.execute("select pg_terminate_backend(%s)", [session])
        assert asked.result().status_code == 500
    assert_nothing_happened(sitter)
    sitter.make("enhance", path)
    assert_made_once(sitter)


WAIT_AFTER_COMMIT = """
create function public.wait_after_commit() returns trigger language plpgsql as $$
begin
    perform set_config('synchronous_commit', 'on', true);
    return null;
end
$$;
create trigger wait_after_commit after insert on public.generations
for each row execute function public.wait_after_commit();
"""


@pytest.fixture
def commits_that_wait(sparky: Server) -> Iterator[None]:
    """A commit of a generation is written and then waits for a standby that does not exist."""
    access = load_access(sparky.project_dir / ".basalt")
    with psycopg.connect(access.conninfo("supabase_admin"), row_factory=dict_row, autocommit=True) as admin:
        admin.execute("alter system set synchronous_commit = 'local'")
        admin.execute("alter system set synchronous_standby_names = 'nobody'")
        admin.execute("select pg_reload_conf()")
        wait_for(lambda: setting(admin, "synchronous_standby_names") == "nobody")
        admin.execute(WAIT_AFTER_COMMIT)
        yield
        admin.execute("alter system reset synchronous_standby_names")
        admin.execute("alter system reset synchronous_commit")
        admin.execute("select pg_reload_conf()")
        wait_for(lambda: setting(admin, "synchronous_standby_names") == "")
        admin.execute("drop function public.wait_after_commit() cascade")


def setting(admin: psycopg.Connection[dict[str, Any]], name: str) -> str:
    row = admin.execute("select current_setting(%s) as value", [name]).fetchone()
    assert row is not None
    return str(row["value"])


@pytest.mark.usefixtures("commits_that_wait")
def test_a_result_that_was_paid_is_given_though_the_database_could_not_say_so(
    sitter: Sitter, crowd: ThreadPoolExecutor
) -> None:
    path = sitter.upload()
    asked = crowd.submit(sitter.ask, "enhance", path)
    with owner(sitter.server) as admin:
        session = wait_for(
            lambda: admin.execute("select pid from pg_stat_activity where wait_event = 'SyncRep'").fetchone()
        )
        admin.execute("select pg_terminate_backend(%s)", [session["pid"]])
    made = succeeded(asked.result())
    assert fetch_image(made["url"]).size == (300, 400)
    assert_made_once(sitter)


def test_what_a_killed_process_leaves_behind_is_taken_over_and_swept(
    sitter: Sitter, gemini: Gemini, crowd: ThreadPoolExecutor
) -> None:
    path = sitter.upload()
    with held_at_the_end(sitter, gemini, crowd, path) as (asked, _):
        (orphan,) = sitter.files()
        os.kill(process_of(sitter.server, "process-image"), signal.SIGKILL)
        assert code_of(asked.result()) == (502, "FUNCTION_CRASHED")
    assert (sitter.credits(), sitter.gallery(), sitter.running()) == (START_CREDITS, [], 1)
    again = crowd.submit(sitter.make, "enhance", path)  # waits until the lease has run out
    sitter.expire_leases()
    made = again.result()
    assert not made["cached"]
    assert sorted(sitter.files()) == sorted([orphan, made["path"]])
    make_old(sitter)
    assert sweep(sitter.server) >= 1
    assert_made_once(sitter)


def process_of(server: Server, function: str) -> int:
    """The function's newest process, by its log."""
    log = (server.project_dir / ".basalt" / "logs" / "functions" / f"{function}.jsonl").read_text()
    return int(re.findall(r"process (\d+) started in", log)[-1])
