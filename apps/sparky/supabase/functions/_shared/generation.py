"""One run of a tool, as document 002 §5 and §7 tell it: who asks, the cache, the credits, the original, the model, the
upload, then one transaction for balance, usage, gallery, cache and the end of the lease.

Identical requests share a run: the first has the lease in the database, the others look until there is an answer and
get it, be it a result or a refusal. A run goes on when its caller hangs up, and is over before its lease is. Whatever
goes wrong, nothing is charged and the uploaded result is taken away again; what a killed process leaves behind,
`sweep-generations` removes.
"""

import asyncio
import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from _shared.callers import check_user
from _shared.errors import error
from _shared.gemini import Gemini
from _shared.image_input import Encoded, decode_picture, encode_picture
from _shared.models import LocalPreview, Model, Task, on_a_thread
from _shared.requests import RunTool
from jsonschema import Draft202012Validator

from basalt.functions import Context, FunctionError, Request, StorageError

Kind = Literal["image", "analysis"]

UPLOADS, GENERATIONS = "user_uploads", "generations"
LEASE_S = 120
RUN_LIMIT_S = 100  # ends before the lease: nobody takes over a run that is alive
UNDO_LIMIT_S = 15
WAIT_LIMIT_S = 110
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0

LOAD_TOOL = """
select id, kind, prompt, parameter_schema from public.tools where id = %(id)s
"""
LOAD_COLORS = "select id, name, hex from public.colors where is_enabled order by sort_order, id"
LOAD_HAIRSTYLE = "select id, name, description from public.hairstyles where is_enabled and id = %(id)s"
BEGIN = "select public.begin_generation(%(user_id)s, %(tool_id)s, %(key)s, %(lease_s)s)"
FINISH = """
select public.finish_generation(
    %(user_id)s, %(tool_id)s, %(key)s, %(parameters)s::jsonb, %(source_path)s, %(source_sha256)s, %(result)s::jsonb,
    %(result_path)s, %(model)s)
"""
FAIL = "select public.fail_generation(%(user_id)s, %(key)s, %(reason)s)"
CLOCK = "select clock_timestamp()"
# How a run ended that others were waiting for.
LOAD_FAILURE = """
select reason from private.leases
where user_id = %(user_id)s and key = %(key)s and state = 'failed' and updated_at >= %(since)s
"""
LOAD_VALUE = """
select value from cache.kv_store where key = %(key)s and user_id = %(user_id)s and expires_at > now()
"""
IS_IN_GALLERY = "select exists (select from public.generations where result_path = %(path)s)"


@dataclass(frozen=True)
class Run:
    """What identifies it, and what it is to do. `key` is that of the cache and of the lease."""

    kind: Kind
    user_id: str
    task: Task
    source_path: str
    source_sha256: str
    model: Model
    key: str

    @property
    def identity(self) -> dict[str, str]:
        return {"user_id": self.user_id, "key": self.key}


async def run_tool(request: Request, context: Context, kind: Kind) -> dict[str, Any]:
    """The answer of `process-image` and `analyze-face`."""
    user_id = check_user(request, context)
    wanted = request.parse(RunTool)
    task = await plan_task(context, wanted, kind)
    path = check_own_path(wanted.originalImageStoragePath, user_id)
    original = await fetch_original(context, path)
    sha256 = hashlib.sha256(original).hexdigest()
    model = choose_model(context.env)
    model_name = model.image_model if kind == "image" else model.analysis_model
    key = make_cache_key(user_id, task.tool_id, sha256, task.parameters, model_name)
    run = Run(kind, user_id, task, path, sha256, model, key)
    begun = await begin(context, run)
    if begun["state"] == "hit":
        return render_answer(context, run, begun["value"], cost=0)
    # The work is not the caller's to stop: who asks again finds it done.
    outcome = await asyncio.shield(context.background(perform(context, run, original, begun["cost"])))
    if isinstance(outcome, Exception):
        raise outcome
    if not isinstance(outcome, dict):
        raise RuntimeError("the run was ended")
    return outcome


# Before the run


async def plan_task(context: Context, wanted: RunTool, kind: Kind) -> Task:
    """Raises TOOL_NOT_FOUND, WRONG_FUNCTION, VALIDATION_ERROR, COLOR_NOT_FOUND or HAIRSTYLE_NOT_FOUND."""
    async with context.service_db.transaction() as tx:
        tool = await tx.fetch_one(LOAD_TOOL, {"id": wanted.toolId})
        if tool is None:
            raise error("TOOL_NOT_FOUND", details={"tool_id": wanted.toolId})
        if tool["kind"] != kind:
            other = "process-image" if tool["kind"] == "image" else "analyze-face"
            raise error("WRONG_FUNCTION", f"Call {other} for this tool", details={"tool_id": tool["id"]})
        parameters = check_parameters(tool["parameter_schema"], wanted.toolParameters)
        colors = await tx.fetch_all(LOAD_COLORS)
        color_id, hairstyle_id = parameters.get("color_id"), parameters.get("hairstyle_id")
        color = next((row for row in colors if row["id"] == color_id), None)
        hairstyle = await tx.fetch_one(LOAD_HAIRSTYLE, {"id": hairstyle_id}) if hairstyle_id else None
    if color_id and color is None:
        raise error("COLOR_NOT_FOUND", details={"color_id": color_id})
    if hairstyle_id and hairstyle is None:
        raise error("HAIRSTYLE_NOT_FOUND", details={"hairstyle_id": hairstyle_id})
    return Task(tool["id"], tool["prompt"], parameters, color, hairstyle, colors)


def check_parameters(schema: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with the schema's defaults, so that what means the same is the same."""
    defaults = {
        name: rule["default"]
        for name, rule in schema.get("properties", {}).items()
        if isinstance(rule, dict) and "default" in rule
    }
    whole = {**defaults, **given}
    problems = [
        {
            "path": ".".join(["toolParameters", *map(str, problem.absolute_path)]),
            "message": problem.message[:300],
        }
        for problem in sorted(Draft202012Validator(schema).iter_errors(whole), key=lambda one: one.json_path)
    ]
    if problems:
        raise error("VALIDATION_ERROR", f"{problems[0]['path']}: {problems[0]['message']}", details=problems)
    return whole


def check_own_path(path: str, user_id: str) -> str:
    """`USER/name.jpg`, also with the bucket before it. Raises NOT_YOUR_FOLDER (403)."""
    parts = path.removeprefix(f"{UPLOADS}/").split("/")
    if len(parts) < 2 or parts[0] != user_id or any(part in ("", ".", "..") for part in parts):
        raise error("NOT_YOUR_FOLDER")
    return "/".join(parts)


async def fetch_original(context: Context, path: str) -> bytes:
    """As the caller, so that the bucket's policies have a say too."""
    try:
        return await context.storage.from_(UPLOADS).download(path)
    except StorageError as exc:
        if exc.status in (400, 404):
            raise error("SOURCE_NOT_FOUND", details={"path": path}) from exc
        raise


def make_cache_key(
    user_id: str, tool_id: str, image_sha256: str, parameters: Mapping[str, Any], model: str
) -> str:
    """SHA-256 over user, tool, picture, parameters and model, each on a line; parameters as JSON with sorted names and
    whole numbers without a point. The model is more than document 002 §5 names: without it previews of the day before
    would be answered once Gemini is there.

    >>> key = make_cache_key("u", "t", "i", {"a": 1.0, "b": 2}, "m")
    >>> key == make_cache_key("u", "t", "i", {"b": 2, "a": 1}, "m")
    True
    >>> key == make_cache_key("u", "t", "i", {"b": 2, "a": 1}, "n")
    False
    """
    canonical = json.dumps(_settle_numbers(parameters), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256("\n".join((user_id, tool_id, image_sha256, canonical, model)).encode()).hexdigest()


def _settle_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {name: _settle_numbers(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_settle_numbers(part) for part in value]
    return value


async def begin(context: Context, run: Run) -> dict[str, Any]:
    """What `begin_generation` answers: a hit with its value, or that the run is ours and what it costs. Waits while
    somebody else is at it, and shares how that ended. Raises what it was refused with, INSUFFICIENT_CREDITS,
    TOOL_DISABLED, or STILL_RUNNING (503)."""
    arguments = {**run.identity, "tool_id": run.task.tool_id, "lease_s": LEASE_S}
    since, pause_s = None, FIRST_PAUSE_S
    give_up_at = asyncio.get_running_loop().time() + WAIT_LIMIT_S
    while True:
        if since is not None:
            reason = await context.service_db.fetch_value(LOAD_FAILURE, {**run.identity, "since": since})
            if (shared := read_reason(reason)) is not None:
                raise shared
        begun: dict[str, Any] = await context.service_db.fetch_value(BEGIN, arguments)
        if begun["state"] != "running":
            return begun
        if asyncio.get_running_loop().time() > give_up_at:
            raise error("STILL_RUNNING", details={"retry_after_s": 10})
        since = since or await context.service_db.fetch_value(CLOCK)
        await asyncio.sleep(pause_s)
        pause_s = min(LONGEST_PAUSE_S, pause_s * 1.5)


# The run


async def perform(context: Context, run: Run, original: bytes, cost: int) -> dict[str, Any] | Exception:
    """The answer, or the exception that the caller is to be given."""
    path: str | None = None
    try:
        async with asyncio.timeout(RUN_LIMIT_S):
            picture = await on_a_thread(decode_picture, original)
            if run.kind == "image":
                image, name = await run.model.edit(run.task, picture)
                encoded = await on_a_thread(encode_picture, image, is_lossless=picture.is_lossless)
                path = f"{run.user_id}/{uuid.uuid4()}.{encoded.suffix}"
                await upload(context, path, encoded)
                result = {
                    "path": path,
                    "width": image.width,
                    "height": image.height,
                    "content_type": encoded.content_type,
                    "model": name,
                }
            else:
                analysis, name = await run.model.analyse(run.task, picture)
                result = {"analysis": analysis, "model": name}
            finished = await finish(context, run, result, path)
            return render_answer(context, run, finished["value"], cost=cost, left=finished["credits_left"])
    except asyncio.CancelledError:
        await asyncio.wait_for(undo(context, run, path, None), UNDO_LIMIT_S)
        raise
    except Exception as exc:
        problem = error("MODEL_TIMEOUT") if isinstance(exc, TimeoutError) else exc
        return await undo(context, run, path, problem)


def choose_model(env: Mapping[str, str]) -> Model:
    return Gemini(env) if env.get("GEMINI_API_KEY") else LocalPreview()


async def upload(context: Context, path: str, encoded: Encoded) -> None:
    await context.service_storage.from_(GENERATIONS).upload(
        path, encoded.body, content_type=encoded.content_type, cache_control="31536000"
    )


async def finish(context: Context, run: Run, result: dict[str, Any], path: str | None) -> dict[str, Any]:
    finished: dict[str, Any] = await context.service_db.fetch_value(
        FINISH,
        {
            **run.identity,
            "tool_id": run.task.tool_id,
            "parameters": json.dumps(run.task.parameters),
            "source_path": run.source_path,
            "source_sha256": run.source_sha256,
            "result": json.dumps(result),
            "result_path": path,
            "model": result["model"],
        },
    )
    return finished


async def undo(
    context: Context, run: Run, path: str | None, problem: Exception | None
) -> dict[str, Any] | Exception:
    """Ends the lease, which waits for a transaction of ours that is still open and lets none begin; then what is in the
    gallery was charged and stays, and what is not is removed. Without a database the file is left to the sweeper."""
    problem = problem or error("MODEL_FAILED")
    try:
        if not is_over(problem):
            await context.service_db.execute(FAIL, {**run.identity, "reason": write_reason(problem)})
        is_kept = path is not None and await context.service_db.fetch_value(IS_IN_GALLERY, {"path": path})
        if path is not None and not is_kept:
            await context.service_storage.from_(GENERATIONS).remove([path])
        value = await context.service_db.fetch_value(LOAD_VALUE, run.identity)
    except Exception as exc:
        context.log.warning("a failed run could not be tidied up: %s", exc)
        return problem
    # Finished after all: its answer was lost, or another call took the run over.
    return problem if value is None else render_answer(context, run, value, cost=0)


def is_over(problem: Exception) -> bool:
    """NOT_RUNNING of `finish_generation`: a lease on this key would be somebody else's."""
    return isinstance(problem, psycopg.Error) and problem.sqlstate == "PT409"


# What is told


def render_answer(
    context: Context, run: Run, value: Mapping[str, Any], *, cost: int, left: int | None = None
) -> dict[str, Any]:
    """`value` is what the cache remembers. The address is made anew: the project may have moved."""
    answer = {**value, "tool_id": run.task.tool_id, "cached": left is None, "credits_used": cost}
    if left is not None:
        answer["credits_left"] = left
    if run.kind == "image":
        answer["url"] = context.service_storage.from_(GENERATIONS).get_public_url(value["path"])
    return answer


def write_reason(problem: Exception) -> str:
    """For those who wait for the same: only what a caller may read."""
    if not isinstance(problem, FunctionError):
        return "{}"
    told = {"code": problem.code, "status": problem.status, "message": problem.message}
    return json.dumps({**told, "details": problem.details}, default=str)


def read_reason(text: str | None) -> FunctionError | None:
    """None for what is no reason of ours: then whoever waited tries for themselves."""
    try:
        told = json.loads(text or "")
        return FunctionError(told["code"], told["message"], status=told["status"], details=told["details"])
    except (ValueError, KeyError, TypeError):
        return None
