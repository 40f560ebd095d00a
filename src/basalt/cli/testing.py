"""`basalt test`: the project's tests on a throw-away database."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from basalt import project
from basalt.cli.findings import plain
from basalt.cli.options import load_project
from basalt.errors import BasaltError

if TYPE_CHECKING:
    from basalt.project import FileResult, Outcome, TestReport

FAILED = 1
WRONG_USAGE = 2
TOLD_LINES = 40
COLOURS: Final["dict[Outcome, str]"] = {"not ok": "bold red", "skip": "yellow", "todo": "yellow"}


class Format(StrEnum):
    TEXT = "text"
    TAP = "tap"
    JSON = "json"
    JUNIT = "junit"


def run_project_tests(
    directory: Annotated[
        Path,
        typer.Argument(help="The project's folder: the one that holds supabase/.", show_default="here"),
    ] = Path(),
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Only these files or folders of tests.", show_default="all"),
    ] = None,
    no_seed: Annotated[bool, typer.Option("--no-seed", help="A database without the seeds.")] = False,
    filter_: Annotated[str, typer.Option("--filter", help="Only files whose path holds this text.")] = "",
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop after the first file that fails.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds that a file may take.", min=0.1)] = 60.0,
    format_: Annotated[Format, typer.Option("--format", help="How to tell what came of it.")] = Format.TEXT,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the database running and tell how to reach it.")
    ] = False,
) -> None:
    """Run the project's SQL, Python and client tests on a throw-away database. Exit code 1: something failed."""
    settings = load_project(directory)
    tests = _find(settings.project_dir, paths or [], filter_)
    is_text = format_ is Format.TEXT
    # The real one: while a status is shown, rich puts its own in the place of `sys.stdout`.
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True, no_color="NO_COLOR" in os.environ)
    progress = console if is_text and console.is_terminal else Console(stderr=True, highlight=False)
    options = project.TestOptions(
        with_seeds=not no_seed, fails_fast=fail_fast, keeps_database=keep, limit_s=timeout
    )
    with progress.status("…") as status, _ending_in_order():

        def step(text: str) -> None:
            if progress.is_terminal:
                status.update(plain(f"{text} …"))
            elif not text.startswith(("Running", "Applying", "Seeding")):
                typer.echo(f"{text} …", err=True)

        def tell(result: "FileResult") -> None:
            if is_text:
                print_file(console, result)

        report = project.run_tests(settings, tests, options, project.Watch(on_step=step, on_file=tell))
    if is_text:
        print_summary(console, report)
    else:
        sys.stdout.write(_RENDERERS[format_](report))
        for line in report.kept:
            typer.echo(line, err=True)
    if not report.has_passed:
        raise typer.Exit(FAILED)


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """SIGTERM is as Ctrl-C: database and server are stopped and removed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _find(project_dir: Path, paths: list[Path], text: str) -> "list[project.TestFile]":
    try:
        tests = project.find_tests(project_dir, paths, text)
    except BasaltError as error:
        raise typer.BadParameter(error.message, param_hint="PATHS") from error
    if not tests:
        where = f"files with `{text}` in their path" if text else "tests in this project"
        raise typer.BadParameter(f"there are no {where}; SQL tests go to supabase/tests/", param_hint="DIR")
    return tests


def _render(name: str) -> "Callable[[TestReport], str]":
    return lambda report: str(getattr(project, name)(report))


_RENDERERS: "dict[Format, Callable[[TestReport], str]]" = {
    Format.TAP: _render("render_tap"),
    Format.JSON: _render("render_json"),
    Format.JUNIT: _render("render_junit"),
}


def print_file(console: Console, result: "FileResult") -> None:
    mark = "[green]ok[/]    " if result.has_passed else "[bold red]not ok[/]"
    counts = [f"{result.count('ok')} ok"]
    counts += [
        f"[{colour}]{result.count(outcome)} {outcome}[/]"
        for outcome, colour in COLOURS.items()
        if result.count(outcome)
    ]
    console.print(f"{mark} {plain(result.file)}  {', '.join(counts)}  [dim]{result.duration_s:.2f} s[/]")
    for case in result.cases:
        if case.outcome == "not ok":
            console.print(f"    [red]✗[/] {plain(case.name)}")
            _print_lines(console, case.diagnostics)
    for problem in result.problems:
        first, *rest = problem.splitlines()
        console.print(f"    [red]✗[/] {plain(first)}")
        _print_lines(console, rest)
    if not result.has_passed and result.output:
        _print_lines(console, result.output.splitlines())


def _print_lines(console: Console, lines: "tuple[str, ...] | list[str]") -> None:
    if len(lines) > TOLD_LINES:
        lines = ["…", *lines[-TOLD_LINES:]]
    for line in lines:
        console.print(f"      [dim]{plain(line)}[/]")


def print_summary(console: Console, report: "TestReport") -> None:
    for sentence in report.left_out:
        console.print(f"[yellow]left out[/] {plain(sentence)}")
    counts = report.counts
    failed = [file for file in report.files if not file.has_passed]
    parts = [f"{counts['ok']} ok"]
    parts += [f"{counts[name]} {name}" for name in ("not ok", "skip", "todo") if counts[name]]
    colour = "bold red" if failed else "bold green"
    word = f"{len(failed)} of {len(report.files)} files failed" if failed else "All passed"
    console.print(
        f"\n[{colour}]{word}[/]: {len(report.files)} files, {', '.join(parts)}, {report.duration_s:.1f} s."
    )
    if report.kept:
        *urls, end = report.kept
        console.print("\nThe database stays:")
        for line in urls:
            console.print(f"  {plain(line)}")
        console.print(f"It ends with\n  {plain(end)}")
