"""Which lane a request gets, and whether there should be more lanes."""

from basalt.postgres.lane import Lane

GROW_AT = 6  # in flight on the best lane; on two cores fewer lanes with more on each are faster


class LaneChoice:
    """`size` ordinary lanes of at most `depth` requests each, and `spare` more in place of occupied ones:
    those that are somebody's own, or that a slow statement holds up."""

    def __init__(self, *, size: int, spare: int, depth: int) -> None:
        self._size = size
        self._limit = size + spare
        self._own_limit = max(1, self._limit - max(1, size // 2))  # the rest always stays for those who share
        self._depth = depth
        self.lanes: list[Lane] = []

    def choose(self) -> Lane | None:
        """The lane with the fewest in flight; none that is slow, full or somebody's own."""
        best = None
        fewest = self._depth
        for lane in self.lanes:
            if lane.is_shared:
                jobs = lane.jobs
                if not jobs:
                    return lane
                count = len(jobs)
                if count < fewest and not jobs[0].is_slow:
                    best, fewest = lane, count
        return best

    def choose_own(self) -> Lane | None:
        """An idle lane, which from now on is shared with nobody."""
        if self._occupied_count() < self._own_limit:
            for lane in self.lanes:
                if lane.is_shared and not lane.jobs:
                    lane.is_shared = False
                    return lane
        return None

    def reserve(self, wanted: int) -> None:
        """Let a shared lane run empty, so that it becomes somebody's own; for at most `wanted` requests."""
        shared = [lane for lane in self.lanes if lane.is_shared]
        reserved_count = sum(lane.is_reserved for lane in self.lanes)
        if shared and reserved_count < wanted and self._occupied_count() < self._own_limit:
            lane = min(shared, key=lambda lane: len(lane.jobs))
            lane.is_reserved, lane.is_shared = True, False

    def release(self, lane: Lane) -> None:
        """Shared again, when nothing speaks against it."""
        if not (lane.is_cancelling or lane.is_retired or lane.is_lost) and (
            not lane.jobs or not (lane.jobs[0].exclusive or lane.is_reserved)
        ):
            lane.is_shared = True
            lane.is_reserved = False

    @property
    def wants_shared_lane(self) -> bool:
        usable = sum(lane.is_shared and not (lane.jobs and lane.jobs[0].is_slow) for lane in self.lanes)
        return usable < self._size and len(self.lanes) < self._limit

    @property
    def wants_own_lane(self) -> bool:
        return len(self.lanes) < self._limit

    @property
    def is_busy(self) -> bool:
        return any(lane.jobs for lane in self.lanes)

    def _occupied_count(self) -> int:
        return sum(not lane.is_shared for lane in self.lanes)
