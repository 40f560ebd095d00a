"""`basalt gen types`: what is printed types real programs of supabase-js and supabase-py, and refuses wrong ones."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from basalt.cli.main import app
from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess
from basalt.project import SchemaTypes, load_types, render_python, render_typescript
from tests.conftest import CloneDatabase
from tests.project.oddities import ODDITIES
from tests.projects import write_project

pytestmark = [pytest.mark.req("P27"), pytest.mark.xdist_group("types")]

JS = Path(__file__).parent.parent / "contract" / "js"
PROGRAMS = Path(__file__).parent / "programs"
NODE = shutil.which("node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
TSC = ["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "--module", "nodenext",
       "--moduleResolution", "nodenext", "--exactOptionalPropertyTypes"]  # fmt: skip


@pytest.fixture(scope="module")
def odd(template: DatabaseAccess, clone_database: CloneDatabase) -> Iterator[str]:
    with clone_database(template.dbname) as access:
        with psycopg.connect(access.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(ODDITIES.encode())
        yield access.url("supabase_admin")


@pytest.fixture(scope="module")
def schemas(odd: str) -> list[SchemaTypes]:
    return load_types(odd, ["public", "api"])


def test_typescript_is_what_supabase_js_is_typed_by(schemas: list[SchemaTypes], tmp_path: Path) -> None:
    """Every `@ts-expect-error` of the program is an error only if the types say what they should."""
    assert NODE is not None
    # Node finds packages in the folders above a file.
    (tmp_path / "node_modules").symlink_to(JS / "node_modules", target_is_directory=True)
    (tmp_path / "package.json").write_text('{"type": "module"}', "utf-8")
    (tmp_path / "database.ts").write_text(render_typescript(schemas), "utf-8")
    shutil.copy(PROGRAMS / "program.ts", tmp_path)
    done = subprocess.run(
        [NODE, str(JS / "node_modules" / "typescript" / "bin" / "tsc"), *TSC, "program.ts"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.long
def test_python_is_what_a_strict_program_is_typed_by(schemas: list[SchemaTypes], tmp_path: Path) -> None:
    """Every `type: ignore` of the program is needed only if the types say what they should."""
    (tmp_path / "database.py").write_text(render_python(schemas), "utf-8")
    shutil.copy(PROGRAMS / "program.py", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}",
         "--follow-imports=silent", "database.py", "program.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "MYPYPATH": "", "PYTHONPATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    # It is a module that runs, too.
    names: dict[str, object] = {}
    exec(compile(render_python(schemas), "database.py", "exec"), names)
    assert "PeopleRow" in names


@pytest.mark.parametrize(("renderer", "name"), [("typescript", "typescript.txt"), ("python", "python.txt")])
def test_the_text_is_what_it_was(schemas: list[SchemaTypes], renderer: str, name: str) -> None:
    """UPDATE_PRINTED_TYPES=1 prints the files again; what changed is for a person to judge."""
    text = {"typescript": render_typescript, "python": render_python}[renderer](schemas)
    file = PROGRAMS / "printed" / name
    if os.environ.get("UPDATE_PRINTED_TYPES"):
        file.write_text(text, "utf-8")
    assert text == file.read_text("utf-8")


def gen(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["gen", "types", *arguments])


def test_the_schemas_are_those_that_rest_serves(odd: str, tmp_path: Path) -> None:
    write_project(tmp_path, {"config.toml": '[api]\nschemas = ["api"]'})
    printed = gen(str(tmp_path), "--db-url", odd)
    assert printed.exit_code == 0, printed.output
    assert "  api: {" in printed.stdout
    assert "  public: {" not in printed.stdout
    # An enum of a schema that is not printed stands there by its labels.
    assert """mood: "sad" | "it's \\"ok\\"" | "happy" | null""" in printed.stdout
    both = gen(str(tmp_path), "--db-url", odd, "--schema", "public,api").stdout
    assert both == gen(str(tmp_path), "--db-url", odd, "--schema", "api", "--schema", "public").stdout
    assert 'Database["public"]["Enums"]["mood"]' in both


def test_a_file_is_written_and_keeps_its_date_when_nothing_changed(odd: str, tmp_path: Path) -> None:
    target = tmp_path / "src" / "database.py"
    assert gen(str(tmp_path), "--db-url", odd, "--lang", "python", "-o", str(target)).exit_code == 0
    os.utime(target, (1, 1))
    assert gen(str(tmp_path), "--db-url", odd, "--lang", "python", "-o", str(target)).exit_code == 0
    assert target.stat().st_mtime == 1
    assert "class ProfilesRow(TypedDict):" in target.read_text("utf-8")


@pytest.mark.long
def test_a_project_that_does_not_run_is_looked_at_by_its_migrations(tmp_path: Path) -> None:
    write_project(tmp_path, {"1_a.sql": "create table public.things (id int primary key, label text);"})
    printed = gen(str(tmp_path), "--migrations", "--lang", "python")
    assert printed.exit_code == 0, printed.output
    assert (
        "class ThingsInsert(TypedDict):\n    id: int\n    label: NotRequired[str | None]\n" in printed.stdout
    )


def test_what_cannot_be_printed_is_said(odd: str, tmp_path: Path) -> None:
    def reason(*arguments: str) -> str:
        error = gen(*arguments).exception
        assert isinstance(error, BasaltError)
        return error.message

    assert reason("--db-url", odd, "--schema", "nowhere") == "There is no schema nowhere."
    assert "does not answer" in reason("--db-url", "postgresql://u:p@127.0.0.1:1/x")
    assert reason("--db-url", "secret@@://") == "The database URL cannot be read."
    assert reason(str(tmp_path)).endswith("holds no supabase/ folder")
    assert gen("--db-url", odd, "--migrations").exit_code == 2
