"""The private copy of the PostgreSQL tree, from which the cluster offers Basalt's own extensions.

A server finds its share folder relative to its own program, after resolving symbolic links. So `bin/postgres`
is a real copy, the layout of the installation is kept below `tree/`, everything else is a link, and
`share/extension` is a folder of links to which our own files are added. The tree is rebuilt when the
installed server or our files change.
"""

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from basalt.postgres.extensions import EXTENSIONS_DIR, OWN_EXTENSIONS, TRUSTED, numbered_files, routine_files
from basalt.postgres.install import PostgresInstall

PROGRAMS = ("postgres", "pg_config")
STAMP = "stamp"


def ensure_tree(install: PostgresInstall, tree_dir: Path) -> PostgresInstall | None:
    """The installation as seen from its private copy below `tree_dir`; None where a copy would not find its
    own share folder (a layout that is not relocatable)."""
    prefix = Path(os.path.commonpath([install.bin_dir, install.share_dir, install.lib_dir]))
    private = replace(
        install,
        bin_dir=tree_dir / install.bin_dir.relative_to(prefix),
        share_dir=tree_dir / install.share_dir.relative_to(prefix),
        lib_dir=tree_dir / install.lib_dir.relative_to(prefix),
    )
    stamp = _stamp(install)
    if _read_stamp(tree_dir) == stamp:
        return private
    building = tree_dir.with_name(f"{tree_dir.name}.new")
    shutil.rmtree(building, ignore_errors=True)
    _build(install, building, prefix)
    if not _finds_its_share(building / install.bin_dir.relative_to(prefix), install, building, prefix):
        shutil.rmtree(building)
        return None
    (building / STAMP).write_text(stamp, "utf-8")
    shutil.rmtree(tree_dir, ignore_errors=True)
    building.rename(tree_dir)
    return private


def _build(install: PostgresInstall, tree_dir: Path, prefix: Path) -> None:
    bin_dir = tree_dir / install.bin_dir.relative_to(prefix)
    share_dir = tree_dir / install.share_dir.relative_to(prefix)
    lib_dir = tree_dir / install.lib_dir.relative_to(prefix)
    bin_dir.mkdir(parents=True)
    for program in PROGRAMS:
        shutil.copy(install.bin_dir / program, bin_dir / program)
    share_dir.mkdir(parents=True, exist_ok=True)
    for entry in os.scandir(install.share_dir):
        if entry.name != "extension" and not (share_dir / entry.name).exists():
            (share_dir / entry.name).symlink_to(entry.path)
    _build_extensions(install.share_dir / "extension", share_dir / "extension")
    if not lib_dir.exists():
        lib_dir.parent.mkdir(parents=True, exist_ok=True)
        lib_dir.symlink_to(install.lib_dir)


def _build_extensions(installed: Path, private: Path) -> None:
    private.mkdir()
    for entry in os.scandir(installed):
        extension = entry.name.split("--")[0].removesuffix(".control")
        if extension in OWN_EXTENSIONS:
            continue  # ours take the place of an installed pg_cron or pg_net, which would need preloading
        if entry.name.endswith(".control") and extension in TRUSTED:
            _write_trusted(Path(entry.path), private / entry.name)
        else:
            (private / entry.name).symlink_to(entry.path)
    for name in OWN_EXTENSIONS:
        _write_own(name, private)


def _write_trusted(installed: Path, private: Path) -> None:
    """The control file with `trusted = true`, so that role `postgres` may create the extension."""
    lines = [
        line for line in installed.read_text("utf-8").splitlines() if not re.match(r"\s*trusted\s*=", line)
    ]
    if any(re.match(r"\s*superuser\s*=\s*false", line) for line in lines):
        private.symlink_to(installed)
        return
    private.write_text("\n".join([*lines, "trusted = true", ""]), "utf-8")


def _write_own(name: str, private: Path) -> None:
    """The control file and `NAME--VERSION.sql`, plus one update script per version step."""
    files = numbered_files(name)
    versions = [int(path.name[:3]) for path in files]
    control = (EXTENSIONS_DIR / name / f"{name}.control").read_text("utf-8")
    (private / f"{name}.control").write_text(
        f"{control.rstrip()}\ndefault_version = '{versions[-1]}'\n", "utf-8"
    )
    routines = [path.read_text("utf-8") for path in routine_files(name)]
    whole = [*(path.read_text("utf-8") for path in files), *routines]
    (private / f"{name}--{versions[-1]}.sql").write_text("\n".join(whole), "utf-8")
    for before, after, path in zip(versions, versions[1:], files[1:], strict=False):
        # The last step makes the routines too, lest new ones are not the extension's and outlive it.
        step = [path.read_text("utf-8"), *(routines if after == versions[-1] else [])]
        (private / f"{name}--{before}--{after}.sql").write_text("\n".join(step), "utf-8")


def _finds_its_share(bin_dir: Path, install: PostgresInstall, tree_dir: Path, prefix: Path) -> bool:
    answer = subprocess.run(
        [bin_dir / "pg_config", "--sharedir"], capture_output=True, text=True, timeout=10, check=False
    )
    share_dir = tree_dir / install.share_dir.relative_to(prefix)
    return answer.returncode == 0 and Path(answer.stdout.strip()).resolve() == share_dir.resolve()


def _read_stamp(tree_dir: Path) -> str | None:
    try:
        return (tree_dir / STAMP).read_text("utf-8")
    except OSError:
        return None


def _stamp(install: PostgresInstall) -> str:
    """Changes with the installed server, with the set of installed extensions and with the text of our
    own."""
    digest = hashlib.sha256()
    server = (install.bin_dir / "postgres").stat()
    digest.update(f"{install.bin_dir} {install.version} {server.st_size} {server.st_mtime_ns}".encode())
    for folder in (install.share_dir, install.share_dir / "extension", install.lib_dir):
        digest.update(f" {folder.stat().st_mtime_ns}".encode())
    for path in sorted(EXTENSIONS_DIR.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(EXTENSIONS_DIR)).encode() + path.read_bytes())
    digest.update("\n".join(sorted(TRUSTED)).encode())
    return digest.hexdigest()
