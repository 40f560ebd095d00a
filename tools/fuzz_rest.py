"""Hostile requests for REST: `python -m tools.fuzz_rest [--runs 1000000] [--seed 1]`.

Without more it runs what REST does without a database, from the bytes of a request to the statement and the head of an
answer, in this process (`tests/rest/examine.py`). Inputs are mutations of the requests in `tests/rest/hostile.py`:
guided by coverage with `--guided` (needs atheris, which is no dependency of the project), else of those that were
accepted before. With `--url http://127.0.0.1:54321/rest/v1 --key KEY` they go to a running server instead.
Whatever is found is written to a file and named; the exit code is then 1.
"""
# ruff: noqa: S311 (chance makes requests here, not secrets)

import argparse
import hashlib
import importlib
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

SLOW_S = 1.0
POOL = 5000


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--guided", metavar="CORPUS_DIR", help="keep what reaches new code in this folder")
    parser.add_argument("--found", default="fuzz-findings", help="folder for what was found")
    parser.add_argument("--url", help="a running REST service")
    parser.add_argument("--key", default="", help="an API key for it")
    options = parser.parse_args()
    if options.guided:
        return run_guided(options)
    if options.url:
        return importlib.import_module("tests.rest.wire").attack(
            options.url, options.key, options.runs, options.seed
        )
    return run_blind(options)


def run_blind(options: argparse.Namespace) -> int:
    examine = importlib.import_module("tests.rest.examine")
    hostile = importlib.import_module("tests.rest.hostile")
    random, examiner, tally = Random(options.seed), examine.Examiner(), Counter()
    pool = list(hostile.SEEDS)
    findings: dict[str, int] = Counter()
    started = time.perf_counter()
    for number in range(options.runs):
        message = hostile.mutate(random.choice(pool), random, pool)
        begun = time.process_time()
        try:
            verdict = examiner.examine(message)
        except examine.FindingError as error:
            verdict = "found"
            record(Path(options.found), message, error, findings)
        took_s = time.process_time() - begun
        if took_s > SLOW_S:
            record(Path(options.found), message, TimeoutError(f"took {took_s:.1f} s"), findings)
        tally[verdict] += 1
        if verdict == "accepted" and len(message) < 2000:
            if len(pool) >= POOL:
                pool[random.randrange(len(hostile.SEEDS), POOL)] = message
            else:
                pool.append(message)
        if number % 20_000 == 19_999:
            print(
                f"{number + 1} in {time.perf_counter() - started:.0f} s: {dict(tally.most_common(12))}",
                flush=True,
            )
    print(
        f"seed {options.seed}: {options.runs} runs, {len(findings)} kinds of findings, {dict(tally.most_common())}"
    )
    return 1 if findings else 0


def run_guided(options: argparse.Namespace) -> int:
    """libFuzzer chooses what to mutate by the code it reached; it ends the process, with 1 for a finding."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["basalt.rest"]):
        examine = importlib.import_module("tests.rest.examine")
    hostile = importlib.import_module("tests.rest.hostile")
    examiner, findings = examine.Examiner(), Counter()

    def run(data: bytes) -> None:
        try:
            examiner.examine(data)
        except examine.FindingError as error:
            record(Path(options.found), data, error, findings)

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        return hostile.mutate(data, Random(seed))[:max_size]

    folder = Path(options.guided)
    folder.mkdir(parents=True, exist_ok=True)
    for seed in hostile.SEEDS:
        (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    libfuzzer = [
        f"-runs={options.runs}",
        f"-seed={options.seed}",
        "-max_len=4096",
        "-timeout=20",
        "-rss_limit_mb=4000",
    ]
    atheris.Setup([sys.argv[0], *libfuzzer, str(folder)], run, custom_mutator=change)
    atheris.Fuzz()
    return 1 if findings else 0


def record(folder: Path, message: bytes, error: Exception, findings: Counter[str]) -> None:
    """One file a kind of finding: the first message of that kind."""
    kind = hashlib.sha256(str(error)[:60].encode("utf-8", "replace")).hexdigest()[:12]
    findings[kind] += 1
    if findings[kind] == 1:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{kind}.request").write_bytes(message)
        print(f"{kind}: {str(error)[:300]}\n    {message[:300]!r}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
