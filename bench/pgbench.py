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
CONNECTIONS = (8, 32)  # whichever is faster is the reference


@dataclass(frozen=True)
class Reference:
    rate: float
    average_ms: float
    connections: int


def run_pgbench(program: Path, conninfo: str, queries: Sequence[Query], *, seconds: float) -> Reference:
    """The best rate of one request's queries as one pipeline."""
    script, variables = render_script(queries)
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        return max(
            (
                _run(program, conninfo, file.name, variables, connections, seconds)
                for connections in CONNECTIONS
            ),
            key=lambda reference: reference.rate,
        )


def render_script(queries: Sequence[Query]) -> tuple[str, list[str]]:
    """
    >>> render_script([Query("select $1::int, $2", (b"7", b"a b"))])
    ('\\\\startpipeline\\nselect :q1p1::int, :q1p2;\\n\\\\endpipeline\\n', ['q1p1=7', 'q1p2=a b'])
    """
    lines = ["\\startpipeline"]
    variables = []
    for number, query in enumerate(queries, 1):
        lines.append(PARAMETER.sub(rf":q{number}p\1", query.sql) + ";")
        for position, value in enumerate(query.params, 1):
            if value is None:
                raise ValueError("pgbench has no null parameters")
            variables.append(f"q{number}p{position}={value.decode()}")
    lines.append("\\endpipeline\n")
    return "\n".join(lines), variables


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
