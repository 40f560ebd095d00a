"""What a bus does, whichever engine carries it."""

import base64
import secrets
from collections.abc import Callable
from typing import ParamSpec, Protocol

from basalt import observe

MAX_PAYLOAD_BYTES = 5 * 1024 * 1024
NODE_ID_CHARACTERS = 11

P = ParamSpec("P")
OnMessage = Callable[[str, bytes], None]
OnGap = Callable[[], None]


class Bus(Protocol):
    """Carries messages to the other nodes: each at most once, those of one sender in their order, never back to it.
    `node_id` is new in each life of a process. `dropped` counts messages of this node that nobody was sent."""

    node_id: str

    @property
    def dropped(self) -> int: ...

    @property
    def reaches_others(self) -> bool:
        """Whether anybody may hear this node: otherwise a message need not even be encoded."""

    async def open(self, on_message: OnMessage, on_gap: OnGap) -> None:
        """Start to listen. `on_message(sender_node_id, payload)` and `on_gap()` are called in the loop. A gap means
        that messages of others may have been missed: it is called as soon as the bus listens, then after each
        interruption and loss. A server that does not answer is reported and tried again; it does not raise."""

    def publish(self, payload: bytes) -> None:
        """Leave a message of at most MAX_PAYLOAD_BYTES to be sent soon. Never waits, never raises: what does not fit is
        dropped, the oldest first, counted and reported."""

    async def close(self) -> None:
        """Send what waits, for a moment at most, and stop."""


def tell(listener: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call a listener; one that raises is reported and hears the next message all the same."""
    try:
        listener(*args, **kwargs)
    except Exception as error:
        observe.event("bus_listener_failed", level="error", error=error)


def new_node_id() -> str:
    """Eleven characters of base64url, 64 random bits."""
    return base64.urlsafe_b64encode(secrets.token_bytes(8)).decode().rstrip("=")
