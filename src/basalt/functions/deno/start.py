"""From a function's folder to a process that is ready for calls."""

import asyncio
from collections.abc import Callable, Mapping

from basalt.functions.deno.binary import INSTALL, find_deno
from basalt.functions.deno.deno_process import DenoProcess, boot_error
from basalt.functions.deno.launch import DenoFunction, prepare_launch
from basalt.functions.errors import FunctionError
from basalt.functions.function_process import FunctionProcess


async def start_deno(
    function: DenoFunction, environ: Mapping[str, str], log: Callable[[str, str], None] | None = None
) -> FunctionProcess:
    """The function, loaded and ready. `log` gets request id and text of each line that it prints. Raises FunctionError
    DENO_MISSING (501) and BOOT_ERROR (503), which names the file, line or import that is wrong."""
    deno = find_deno(environ)
    if deno is None:
        raise FunctionError(
            "DENO_MISSING",
            f"{function.name} is written for Deno, and there is no deno on this machine",
            status=501,
            hint=f"Run: {INSTALL}",
        )
    try:
        launch = await asyncio.to_thread(prepare_launch, deno, function, environ)
    except ValueError as exc:
        raise boot_error(function.name, str(exc)) from exc
    child = await asyncio.create_subprocess_exec(
        *launch.command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=launch.environ,
        cwd=launch.function.functions_dir,
        start_new_session=True,
    )
    process = DenoProcess(launch, child, log)
    try:
        await process.boot()
    except BaseException:
        process.kill()
        await process.close()
        raise
    return process
