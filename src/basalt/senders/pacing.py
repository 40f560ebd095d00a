"""How fast a provider is asked, and when it is left in peace: decisions without a clock or a connection of their own.

A `Pace` is one provider's, for all that ask it from this process: a token bucket, the time for which the provider asked
for patience (`Retry-After`), and a circuit that opens when it fails again and again. Times are those of a monotonic
clock, handed in by whoever asks.
"""

from dataclasses import dataclass
from typing import Final, Literal

LONGEST_PAUSE_S: Final = 3600.0  # a provider that asks for a year has lost its mind, not its capacity

Reading = Literal["served", "throttled", "failed"]


@dataclass(frozen=True, slots=True)
class Go:
    """Ask, but not before `after_s` have passed."""

    after_s: float = 0.0


AT_ONCE: Final = Go()  # for every message of most providers; to make one costs more than to give it


@dataclass(frozen=True, slots=True)
class Later:
    """Do not ask: the provider is not ready. `reason` becomes the outcome's error code."""

    after_s: float
    reason: Literal["circuit_open", "provider_paused", "rate_limited"]


class TokenBucket:
    """So many a second, `burst` of them at once after a rest; a rate of 0 is no limit.

    >>> bucket = TokenBucket(10.0, burst=2)
    >>> [bucket.take(100.0, longest_wait_s=0.25) for _ in range(5)]
    [0.0, 0.0, 0.1, 0.2, None]
    >>> bucket.take(100.3, longest_wait_s=0.25)
    0.0
    """

    def __init__(self, rate_per_s: float, *, burst: int = 1) -> None:
        self._interval_s = 1 / rate_per_s if rate_per_s else 0.0
        self._saved_s = (burst - 1) * self._interval_s
        self._next_turn_at = float("-inf")
        self._promised_at = float("-inf")

    def take(self, now: float, *, longest_wait_s: float) -> float | None:
        """Seconds until the turn of whoever asks; None, and no turn, where that is longer than `longest_wait_s`."""
        if not self._interval_s:
            return 0.0
        turn_at = max(self._next_turn_at, now - self._saved_s)
        wait_s = max(0.0, turn_at - now)
        if wait_s > longest_wait_s:
            return None
        self._next_turn_at = turn_at + self._interval_s
        return round(wait_s, 6)

    def promise(self, now: float) -> float:
        """Seconds after which to come again, for one who got no turn; longer for each, so that they do not all come at
        once and get none again."""
        self._promised_at = max(self._promised_at, self._next_turn_at, now) + self._interval_s
        return round(self._promised_at - now, 6)

    def empty(self, until: float) -> None:
        """Nothing is saved up for the time after `until`."""
        self._next_turn_at = max(self._next_turn_at, until)


class Circuit:
    """Closed: all may pass. `threshold` failures in a row open it for a while, which doubles up to a limit while the
    provider goes on failing. Then one may pass and try; what becomes of it closes the circuit or opens it again. A
    try that never reports is forgotten after `probe_limit_s`."""

    def __init__(
        self, *, threshold: int, first_rest_s: float, longest_rest_s: float, probe_limit_s: float
    ) -> None:
        self._threshold = threshold
        self._first_rest_s = first_rest_s
        self._longest_rest_s = longest_rest_s
        self._probe_limit_s = probe_limit_s
        self._failures = 0
        self._rest_s = 0.0
        self._opened_at = float("-inf")
        self._shut_until: float | None = None

    @property
    def is_open(self) -> bool:
        return self._shut_until is not None

    def rest_s(self, now: float) -> float:
        """Seconds after which to come again; 0 where one may pass. While one tries, all others come when its end is
        likely to be known, not when it would be forgotten."""
        return 0.0 if self._shut_until is None else min(max(0.0, self._shut_until - now), self._rest_s)

    def begin_probe(self, now: float) -> None:
        """Whoever passes an open circuit is the one that tries: all others wait for what becomes of it."""
        if self._shut_until is not None:
            self._shut_until = now + self._probe_limit_s

    def note_success(self) -> None:
        self._failures, self._rest_s, self._shut_until = 0, 0.0, None

    def note_failure(self, now: float, *, began_at: float) -> bool:
        """Whether this opened the circuit. What began before it opened tells nothing about the provider since."""
        if self._shut_until is not None and began_at < self._opened_at:
            return False
        self._failures += 1
        if self._failures < self._threshold and self._shut_until is None:
            return False
        self._rest_s = min(self._rest_s * 2 or self._first_rest_s, self._longest_rest_s)
        self._opened_at = now
        self._shut_until = now + self._rest_s
        return True


class Pace:
    """One provider's. Ask `admit` before each request; when its time has come, ask `begin`; tell `note` how it went."""

    def __init__(
        self,
        *,
        rate_per_s: float = 0.0,
        burst: int = 1,
        longest_wait_s: float = 5.0,
        pause_s: float = 1.0,
        threshold: int = 8,
        first_rest_s: float = 1.0,
        longest_rest_s: float = 60.0,
        probe_limit_s: float = 30.0,
    ) -> None:
        """`longest_wait_s`: how long one may wait for its turn; who would have to wait longer comes again later.
        `pause_s`: the patience that "too many requests" asks for without saying how much, or by a time that is over."""
        self._bucket = TokenBucket(rate_per_s, burst=burst)
        self._longest_wait_s = longest_wait_s
        self._pause_s = pause_s
        self._paused_until = float("-inf")
        self._circuit = Circuit(
            threshold=threshold,
            first_rest_s=first_rest_s,
            longest_rest_s=longest_rest_s,
            probe_limit_s=probe_limit_s,
        )

    @property
    def is_open(self) -> bool:
        """Whether the circuit is: the provider is believed to be down."""
        return self._circuit.is_open

    def admit(self, now: float) -> Go | Later:
        """A turn, or when to come again."""
        if (held := self._held(now)) is not None:
            return held
        wait_s = self._bucket.take(now, longest_wait_s=self._longest_wait_s)
        if wait_s is None:
            return Later(self._bucket.promise(now), "rate_limited")
        return Go(wait_s) if wait_s else AT_ONCE

    def begin(self, now: float) -> Later | None:
        """Just before the request leaves: while it waited for its turn the provider may have asked for patience."""
        held = self._held(now)
        if held is None:
            self._circuit.begin_probe(now)
        return held

    def note(
        self, reading: Reading, now: float, *, began_at: float, retry_after_s: float | None = None
    ) -> bool:
        """How a request went that began at `began_at`. Whether the circuit has opened by it."""
        if retry_after_s or reading == "throttled":
            pause_s = min(retry_after_s, LONGEST_PAUSE_S) if retry_after_s else self._pause_s
            self._paused_until = max(self._paused_until, now + pause_s)
            self._bucket.empty(self._paused_until)
        if reading == "failed":
            return self._circuit.note_failure(now, began_at=began_at)
        self._circuit.note_success()
        return False

    def _held(self, now: float) -> Later | None:
        if (rest_s := self._circuit.rest_s(now)) > 0:
            return Later(rest_s, "circuit_open")
        if self._paused_until > now:
            return Later(self._paused_until - now, "provider_paused")
        return None


def read_status(status: int) -> Reading:
    """What a status says about the provider, whatever it says about the message.

    >>> [read_status(status) for status in (200, 404, 429, 500, 503)]
    ['served', 'served', 'throttled', 'failed', 'failed']

    Credentials that it does not take are a failure of all messages until the operator has mended them.

    >>> read_status(401)
    'failed'
    """
    if status == 429:
        return "throttled"
    return "failed" if status >= 500 or status == 401 else "served"
