"""The reference: pgbench sends the statements that the gateway sent, prepared and pipelined, without a
gateway.
"""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from basalt.postgres import Query

PARAMETER = re.compile(r"\$(\d+)")
LATENCY = re.compile(r"latency average = ([\d.]+) ms")
RATE = re.compile(r"tps = ([\d.]+)")
READ_CONNECTIONS = (8, 32)  # whichever is faster is the reference; more are slower on a few cores


@dataclass(frozen=True)
class Pipeline:
    """The queries of one request. Where there are `numbers`, another one takes the place of `number` each time, in the
    parameters behind the prelude; those of the prelude only tell of the request."""

    queries: Sequence[Query]
    number: int = 0
    numbers: range = range(0)


@dataclass(frozen=True)
class Reference:
    rate: float
    average_ms: float
    connections: int


def run_pgbench(
    program: Path, conninfo: str, pipeline: Pipeline, *, connections: Sequence[int], seconds: float
) -> Reference:
    """The best rate, tried with each number of connections."""
    script, variables = render_script(pipeline)
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        return max(
            (_run(program, conninfo, file.name, variables, count, seconds) for count in connections),
            key=lambda reference: reference.rate,
        )


def render_script(pipeline: Pipeline) -> tuple[str, list[str]]:
    """
    >>> render_script(Pipeline([Query("select $1::int, $2", (b"7", b"a b"))]))
    ('\\\\startpipeline\\nselect :q1p1::int, :q1p2;\\n\\\\endpipeline\\n', ['q1p1=7', 'q1p2=a b'])
    """
    lines = ["\\startpipeline"]
    variables: list[str] = []
    for index, query in enumerate(pipeline.queries):
        varies = bool(pipeline.numbers) and index > 0
        given = [
            _render_parameter(
                f"q{index + 1}p{position}", value, pipeline.number if varies else None, variables
            )
            for position, value in enumerate(query.params, 1)
        ]
        lines.append(_substitute(query.sql, given) + ";")
    lines.append("\\endpipeline\n")
    if pipeline.numbers:
        lines.insert(0, f"\\set n random({pipeline.numbers[0]}, {pipeline.numbers[-1]})")
    return "\n".join(lines), variables


def _substitute(sql: str, given: Sequence[str]) -> str:
    return PARAMETER.sub(lambda found: given[int(found[1]) - 1], sql)


def _render_parameter(name: str, value: bytes | None, number: int | None, variables: list[str]) -> str:
    """What stands for the parameter in the statement; its value goes to `variables`. pgbench can draw numbers and has
    no null and no empty variables. A number inside of a text costs PostgreSQL a concatenation, well below 1 % of any
    statement here.

    >>> variables = []
    >>> _render_parameter("p", b'{"id":7001}', 7001, variables), variables
    ('(:pa::text || :n::text || :pz::text)', ['pa={"id":', 'pz=}'])
    >>> _render_parameter("p", b"7001", 7001, []), _render_parameter("p", b"", None, [])
    (':n', "''")
    """
    if not value:
        return "null" if value is None else "''"
    text = value.decode()
    if number is None or str(number) not in text:
        variables.append(f"{name}={text}")
        return f":{name}"
    head, tail = text.split(str(number))
    if not head and not tail:
        return ":n"
    variables += [f"{name}a={head}", f"{name}z={tail}"]
    return f"(:{name}a::text || :n::text || :{name}z::text)"


def _run(
    program: Path, conninfo: str, script: str, variables: Sequence[str], connections: int, seconds: float
) -> Reference:
    command = [str(program), "--no-vacuum", "--protocol=prepared", f"--file={script}", "--jobs=2"]
    command += [f"--client={connections}", f"--time={max(1, round(seconds))}"]
    command += [f"--define={variable}" for variable in variables]
    done = subprocess.run(
        [*command, conninfo], capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    rate, average = RATE.search(done.stdout), LATENCY.search(done.stdout)
    if done.returncode or not rate or not average:
        raise RuntimeError(f"pgbench failed: {done.stderr.strip()}")
    return Reference(float(rate[1]), float(average[1]), connections)
