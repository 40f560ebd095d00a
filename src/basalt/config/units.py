"""Durations and sizes as people write them in configuration files."""

import re

DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s|d)")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)
POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_duration_s(raw: object) -> float:
    """Seconds of a number or of a Go duration. Raises ValueError.

    >>> parse_duration_s("1m30s"), parse_duration_s(5), parse_duration_s("24h")
    (90.0, 5.0, 86400.0)
    """
    if isinstance(raw, (int, float)) and not isinstance(raw, bool):
        return float(raw)
    if isinstance(raw, str):
        text = raw.strip()
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
        parts = DURATION_PART.findall(text)
        if parts and "".join(number + unit for number, unit in parts) == text:
            return sum(float(number) * SECONDS[unit] for number, unit in parts)
    raise ValueError(f'{raw!r} is not a duration such as 30, "30s" or "1h30m"')


def parse_size_bytes(raw: object) -> int:
    """Bytes of a number or of a size with a unit; all units are powers of 1024, as the Supabase CLI reads
    them. Raises ValueError.

    >>> parse_size_bytes("50MiB"), parse_size_bytes(1024)
    (52428800, 1024)
    """
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and (match := SIZE.fullmatch(raw.strip())):
        return int(float(match[1]) * 1024 ** POWERS[match[2].upper()])
    raise ValueError(f'{raw!r} is not a size such as 1048576 or "1MiB"')
