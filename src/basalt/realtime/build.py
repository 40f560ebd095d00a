"""Puts Realtime together for one project."""

from basalt.access import Authoriser
from basalt.bus import build_bus
from basalt.config import Settings
from basalt.postgres import DatabaseAccess, LanePool
from basalt.realtime.hub import Hub
from basalt.realtime.service import RealtimeService

LANES = 4


def build_realtime(settings: Settings, access: DatabaseAccess, authoriser: Authoriser) -> RealtimeService:
    """Not connected yet. Raises BusError when the bus of the settings cannot be."""
    conninfo = access.conninfo("postgres")
    bus = build_bus(settings.basalt.bus, project_id=settings.project_id, conninfo=conninfo)
    lanes = LanePool(conninfo, size=LANES, name="realtime")
    # On a managed server only its owner can be given the right to replicate.
    reader = "postgres" if access.is_external else "supabase_replication_admin"
    hub = Hub(
        settings.basalt.realtime,
        authoriser,
        lanes,
        bus,
        replication_conninfo=access.conninfo(reader),
    )
    return RealtimeService(hub)
