"""Metrics as values that travel between processes, and as the text that Prometheus reads (text format 0.0.4)."""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite

import msgspec

TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"
PROCESS_LABEL = "process"


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One series. Of a histogram `value` is the sum, and `buckets` how many fell into each one and above them all."""

    labels: tuple[str, ...]
    value: float
    buckets: tuple[float, ...] = ()


class Family(msgspec.Struct, frozen=True, array_like=True):
    """All series of one name. `bounds` are those of a histogram's buckets."""

    name: str
    kind: str
    documentation: str
    labels: tuple[str, ...]
    samples: Sequence[Sample]
    bounds: tuple[float, ...] = ()


def render_families(by_process: Mapping[str, Iterable[Family]]) -> bytes:
    """What Prometheus reads: the series of each process with its name as a label, those of `""` without. Added up they
    would fall whenever one process starts again, which Prometheus takes for a growth.

    >>> family = Family("basalt_sockets", "gauge", "Open sockets.", ("version",), [Sample(("2",), 7)])
    >>> print(render_families({"gateway": [family], "gateway-2": [family]}).decode(), end="")
    # HELP basalt_sockets Open sockets.
    # TYPE basalt_sockets gauge
    basalt_sockets{version="2",process="gateway"} 7
    basalt_sockets{version="2",process="gateway-2"} 7
    """
    together: dict[str, list[tuple[str, Family]]] = {}
    for process, families in by_process.items():
        for family in families:
            together.setdefault(family.name, []).append((process, family))
    lines: list[str] = []
    for name, members in sorted(together.items()):
        first = members[0][1]
        body = [
            line
            for process, family in members
            if family.kind == first.kind
            for sample in family.samples
            for line in _render_sample(process, family, sample)
        ]
        if body:
            lines += [
                f"# HELP {name} {_escape_help(first.documentation)}",
                f"# TYPE {name} {first.kind}",
                *body,
            ]
    return "\n".join([*lines, ""]).encode()


def _render_sample(process: str, family: Family, sample: Sample) -> Iterable[str]:
    pairs = [f'{name}="{_escape(value)}"' for name, value in zip(family.labels, sample.labels, strict=True)]
    if process:
        pairs.append(f'{PROCESS_LABEL}="{_escape(process)}"')
    if family.kind != "histogram":
        yield f"{family.name}{_in_braces(pairs)} {_number(sample.value)}"
        return
    count = 0.0
    for bound, here in zip((*map(_number, family.bounds), "+Inf"), sample.buckets, strict=True):
        count += here
        labels = _in_braces([*pairs, f'le="{bound}"'])
        yield f"{family.name}_bucket{labels} {_number(count)}"
    yield f"{family.name}_sum{_in_braces(pairs)} {_number(sample.value)}"
    yield f"{family.name}_count{_in_braces(pairs)} {_number(count)}"


def _in_braces(pairs: Sequence[str]) -> str:
    return "{{{}}}".format(",".join(pairs)) if pairs else ""


def _number(value: float) -> str:
    """
    >>> _number(3.0), _number(0.25), _number(float("inf")), _number(float("-inf")), _number(float("nan"))
    ('3', '0.25', '+Inf', '-Inf', 'NaN')
    """
    if not isfinite(value):
        return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
