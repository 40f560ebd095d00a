"""What an engine of the cache does: values by key, and a lease on each key that is being computed."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol


class Claim(NamedTuple):
    """`value` as JSON where there is one after all; else whether the lease is ours, or for how long it is not."""

    value: bytes | None
    is_mine: bool
    left_s: float


class Engine(Protocol):
    """Keys and values have been checked. Time is the server's. `holder` names one caller."""

    async def read(self, key: str) -> bytes | None: ...

    async def write(self, key: str, value: bytes, *, ttl_s: float) -> None: ...

    async def delete(self, keys: Sequence[str]) -> int:
        """Values and leases; how many values there were."""

    async def claim(self, key: str, holder: str, *, lease_s: float) -> Claim:
        """Take the lease where nobody has it, and look for the value after that: who settled just before is not
        missed."""

    async def extend(self, key: str, holder: str, *, lease_s: float) -> bool:
        """False when the lease is another's."""

    async def settle(self, key: str, holder: str, value: bytes, *, ttl_s: float) -> bool:
        """Keep the value and end the lease, both or none: False when the lease is another's."""

    async def free(self, key: str, holder: str) -> None:
        """End the lease where it is still ours."""

    def listen(self) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        """Keys whose lease has ended, from when it was entered; ends by an error."""

    async def purge(self) -> int: ...

    async def close(self) -> None: ...
