"""How a function's `deno` is started: its private folder, its command line, its environment.

A function may use the network, read the functions and its packages, and write into its own temporary folder. It starts
no programs and loads no native libraries.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from basalt.functions.deno.import_map import (
    ImportMap,
    find_import_map,
    find_specifiers,
    lead_to_ours,
    load_import_map,
)

HERE = Path(__file__).parent
DATA_SLACK_BYTES = 1024 * 1024 * 1024  # V8's own reservations: 555 MB in Deno 2.9 before any code has run
PASSED_ON = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "DENO_CERT",
    "DENO_TLS_CA_STORE",
    "NPM_CONFIG_REGISTRY",
    "JSR_URL",
)


@dataclass(frozen=True)
class DenoFunction:
    """What is to run. `import_map` is the configured import map or `deno.json`, if any; `state_dir` keeps the packages;
    `env` is what the function sees as its environment."""

    name: str
    functions_dir: Path
    entrypoint: Path
    state_dir: Path
    env: Mapping[str, str]
    memory_mb: int
    total_timeout_s: float = 400.0
    import_map: Path | None = None


@dataclass(frozen=True)
class Launch:
    """`folder` belongs to this process alone and goes with it. The paths of `function` are whole and without links."""

    function: DenoFunction
    folder: Path
    command: list[str]
    environ: Mapping[str, str]

    @property
    def socket(self) -> Path:
        return self.folder / "s"


def prepare_launch(deno: Path, function: DenoFunction, environ: Mapping[str, str]) -> Launch:
    """Makes the folder. Raises ValueError when the import map cannot be read."""
    function = _without_links(function)
    configured = function.import_map or find_import_map(function.entrypoint.parent, function.functions_dir)
    project = load_import_map(configured) if configured else ImportMap()
    folders = {function.functions_dir, function.entrypoint.parent}
    whole = lead_to_ours(project, (specifier for folder in folders for specifier in find_specifiers(folder)))
    folder = Path(tempfile.mkdtemp(prefix="basalt-deno-")).resolve()
    cache = function.state_dir / "deno"
    cache.mkdir(parents=True, exist_ok=True)
    (folder / "import_map.json").write_text(json.dumps({"imports": whole.imports, "scopes": whole.scopes}))
    (folder / "main.js").write_text(_render_main(folder / "s", function.entrypoint))
    readable = ",".join(_escape(path) for path in (*sorted(folders), cache, folder))
    command = [
        str(deno),
        "run",
        "--quiet",
        "--no-prompt",
        "--no-check",
        "--node-modules-dir=none",
        f"--v8-flags=--max-old-space-size={function.memory_mb}",
        "--allow-net",
        "--allow-import",
        "--allow-env",
        "--allow-sys",
        f"--allow-read={readable}",
        f"--allow-write={_escape(folder)}",
        f"--import-map={folder / 'import_map.json'}",
        _config_option(configured),
        _lock_option(configured or function.entrypoint, folder),
        str(folder / "main.js"),
    ]
    limits = [str(os.getpid()), str(function.memory_mb * 1024 * 1024 + DATA_SLACK_BYTES)]
    bounded = [sys.executable, "-I", "-S", str(HERE / "exec_bounded.py"), *limits]
    return Launch(function, folder, [*bounded, *command], _environment(function, folder, cache, environ))


def _without_links(function: DenoFunction) -> DenoFunction:
    """Deno compares paths so, and wants them whole."""
    return replace(
        function,
        functions_dir=function.functions_dir.resolve(),
        entrypoint=function.entrypoint.resolve(),
        state_dir=function.state_dir.resolve(),
        import_map=function.import_map and function.import_map.resolve(),
    )


def _render_main(socket: Path, entrypoint: Path) -> str:
    """The function's address is written out, so that Deno reads all of its imports beforehand."""
    bootstrap = json.dumps((HERE / "bootstrap.js").as_uri())
    function = json.dumps(entrypoint.as_uri())
    return (
        f"import {{ boot }} from {bootstrap};\nboot({json.dumps(str(socket))}, () => import({function}));\n"
    )


def _escape(path: Path) -> str:
    return str(path).replace(",", ",,")


def _config_option(configured: Path | None) -> str:
    """Compiler options count, such as those of JSX; tasks and the like have no effect here."""
    is_config = configured is not None and configured.name in ("deno.json", "deno.jsonc")
    return f"--config={configured}" if is_config else "--no-config"


def _lock_option(beside: Path, folder: Path) -> str:
    """A lock file pins versions; Deno would write into it, so it gets a copy."""
    lock = beside.parent / "deno.lock"
    if not lock.is_file():
        return "--no-lock"
    shutil.copyfile(lock, folder / "deno.lock")
    return f"--lock={folder / 'deno.lock'}"


def _environment(
    function: DenoFunction, folder: Path, cache: Path, environ: Mapping[str, str]
) -> Mapping[str, str]:
    return {
        "DENO_TLS_CA_STORE": "system,mozilla",
        **{name: environ[name] for name in PASSED_ON if name in environ},
        "SB_EXECUTION_ID": folder.name.removeprefix("basalt-deno-"),
        "SB_REGION": "local",
        **function.env,
        "DENO_DIR": str(cache),
        "DENO_NO_PACKAGE_JSON": "1",
        "DENO_NO_UPDATE_CHECK": "1",
        "NO_COLOR": "1",
        "TMPDIR": str(folder),
    }
