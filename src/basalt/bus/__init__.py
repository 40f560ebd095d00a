"""Messages between the gateway processes of one installation, on one machine or several.

`build_bus` makes the `Bus` that the settings ask for. In one process it is `memory`. The other engines are a
`RemoteBus` over PostgreSQL, Redis or NATS: `outbox` holds what waits, `pieces` tells how it travels, and the engine's
own module how one connection is made and spoken to.
"""

from basalt.bus.build import BusError, build_bus
from basalt.bus.bus import MAX_PAYLOAD_BYTES, Bus
from basalt.bus.memory import Hub, MemoryBus

__all__ = ["MAX_PAYLOAD_BYTES", "Bus", "BusError", "Hub", "MemoryBus", "build_bus"]
