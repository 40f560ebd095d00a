"""Hostile requests for REST: `python -m tools.fuzz_rest [--runs 1000000] [--seed 1]`.

Without more it runs what REST does without a database, from the bytes of a request to the statement and the head of an
answer, in this process (`tests/rest/examine.py`). Inputs are mutations of the requests in `tests/rest/hostile.py`:
guided by coverage with `--guided` (needs atheris, which is no dependency of the project), else of those that were
accepted before. With `--url http://127.0.0.1:54321/rest/v1 --key KEY` they go to a running server instead, whose
database should be worth nothing. What is found is written to files, one a kind; the exit code is then 1 (with
`--guided` it is libFuzzer's, which says nothing).
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
LONGEST_POOLED = 2000
REPORTED = 20_000


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.fuzz_rest",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
        wire = importlib.import_module("tests.rest.wire")
        code: int = wire.attack(options.url, options.key, options.runs, options.seed)
        return code
    return run_blind(options)


class Findings:
    """Messages that did what none may do: the first of each kind in a file of its own."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self.counts: Counter[str] = Counter()

    def add(self, message: bytes, problem: str) -> None:
        kind = hashlib.sha256(problem[:60].encode("utf-8", "replace")).hexdigest()[:12]
        self.counts[kind] += 1
        if self.counts[kind] == 1:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / f"{kind}.request").write_bytes(message)
            print(f"{kind}: {problem[:300]}\n    {message[:300]!r}", flush=True)


def run_blind(options: argparse.Namespace) -> int:
    hostile = importlib.import_module("tests.rest.hostile")
    examiner = importlib.import_module("tests.rest.examine").Examiner()
    random, findings, tally = Random(options.seed), Findings(options.found), Counter[str]()
    pool = list(hostile.SEEDS)
    started = time.perf_counter()
    for number in range(1, options.runs + 1):
        message = hostile.mutate(random.choice(pool), random, pool)
        verdict = examine(examiner, message, findings)
        tally[verdict] += 1
        if verdict == "accepted" and len(message) <= LONGEST_POOLED:
            if len(pool) < POOL:
                pool.append(message)
            else:
                pool[random.randrange(len(hostile.SEEDS), POOL)] = message
        if number % REPORTED == 0:
            print(f"{number} in {time.perf_counter() - started:.0f} s", flush=True)
    print(f"seed {options.seed}, {options.runs} runs: {dict(tally.most_common())}")
    print(f"{len(findings.counts)} kinds of findings: {dict(findings.counts)}")
    return 1 if findings.counts else 0


def run_guided(options: argparse.Namespace) -> int:
    """libFuzzer chooses what to mutate by the code that it reached, and ends the process itself."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["basalt.rest"]):
        examiner = importlib.import_module("tests.rest.examine").Examiner()
    hostile = importlib.import_module("tests.rest.hostile")
    findings = Findings(options.found)

    def run(message: bytes) -> None:
        examine(examiner, message, findings)

    def change(message: bytes, max_size: int, seed: int) -> bytes:
        changed: bytes = hostile.mutate(message, Random(seed))
        return changed[:max_size]

    folder = Path(options.guided)
    folder.mkdir(parents=True, exist_ok=True)
    for message in hostile.SEEDS:
        (folder / hashlib.sha256(message).hexdigest()[:16]).write_bytes(message)
    limits = ["-max_len=4096", "-timeout=20", "-rss_limit_mb=4000"]
    arguments = [sys.argv[0], f"-runs={options.runs}", f"-seed={options.seed}", *limits, str(folder)]
    atheris.Setup(arguments, run, custom_mutator=change)
    atheris.Fuzz()
    return 1 if findings.counts else 0


def examine(examiner: Any, message: bytes, findings: Findings) -> str:
    """The verdict. What took long is tried again: the first time may have been the garbage collector's."""
    for _ in range(2):
        begun = time.process_time()
        try:
            verdict: str = examiner.examine(message)
        except AssertionError as error:
            findings.add(message, str(error))
            return "found"
        if time.process_time() - begun < SLOW_S:
            return verdict
    findings.add(message, f"takes longer than {SLOW_S} s")
    return "slow"


if __name__ == "__main__":
    sys.exit(main())
