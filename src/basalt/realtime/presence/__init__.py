"""Who is present in which room, over all gateways.

Each node writes the entries of its own channels and nobody else's; `state` keeps them beside replicas of the other
nodes' entries, tells what changed (`diff`) and what to say to the others (`messages`). Nothing here does I/O or looks
at a clock.
"""

from basalt.realtime.presence.diff import Diff, Presences
from basalt.realtime.presence.state import HEARTBEAT_S, SILENT_S, PresenceState

__all__ = ["HEARTBEAT_S", "SILENT_S", "Diff", "PresenceState", "Presences"]
