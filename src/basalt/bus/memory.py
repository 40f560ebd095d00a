"""The bus within one process. With a hub of its own it has nobody to talk to: an installation of one gateway."""

import asyncio

from basalt.bus.bus import OnGap, OnMessage, new_node_id, tell


class Hub:
    """The open buses that hear each other."""

    def __init__(self) -> None:
        self.buses: dict[str, MemoryBus] = {}


class MemoryBus:
    """Carries messages by the loop's own queue, so that nothing is lost and nothing waits."""

    def __init__(self, hub: Hub | None = None) -> None:
        self.node_id = new_node_id()
        self.dropped = 0
        self._hub = hub or Hub()
        self._on_message: OnMessage | None = None

    @property
    def reaches_others(self) -> bool:
        return len(self._hub.buses) > 1

    async def open(self, on_message: OnMessage, on_gap: OnGap) -> None:
        self._on_message = on_message
        self._hub.buses[self.node_id] = self
        tell(on_gap)

    def publish(self, payload: bytes) -> None:
        for bus in self._hub.buses.values():
            if bus is not self:
                asyncio.get_running_loop().call_soon(bus._hear, self.node_id, payload)

    async def close(self) -> None:
        self._hub.buses.pop(self.node_id, None)
        self._on_message = None

    def _hear(self, sender: str, payload: bytes) -> None:
        if self._on_message is not None:
            tell(self._on_message, sender, payload)
