"""Python's collector of cycles in processes that live for long and make much that lives for a moment."""

import gc


def spare_the_collector() -> None:
    """Once everything is loaded: what was made at start stays, and looking through it again and again took milliseconds
    (p99 of reads with new tokens: 34 ms before, 10 ms after; a tenth of the worker's time in a fan-out)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
