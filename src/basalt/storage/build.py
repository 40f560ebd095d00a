"""Puts Storage together for one project."""

from typing import Final

from basalt.access import Authoriser, ProjectKeys
from basalt.config import Settings, parse_upload_hook
from basalt.http import OutgoingClient
from basalt.postgres import DatabaseAccess, LanePool
from basalt.storage.back_ends import build_store
from basalt.storage.context import StorageContext
from basalt.storage.database import StorageDatabase
from basalt.storage.hook import UploadHook
from basalt.storage.images import Renderer
from basalt.storage.public_objects import PublicObjects
from basalt.storage.service import StorageService
from basalt.storage.signing import Signer

PREFIX: Final = "/storage/v1"
LANES: Final = 6


def build_storage(
    settings: Settings, access: DatabaseAccess, authoriser: Authoriser, keys: ProjectKeys
) -> StorageService:
    """Not connected yet. Raises BasaltError for settings that will not do."""
    conninfo = access.conninfo("supabase_storage_admin")
    lanes = LanePool(conninfo, size=LANES, name="storage")
    db = StorageDatabase(lanes)
    http = OutgoingClient()
    own = settings.basalt.storage
    signer = Signer(keys.jwt_secret)
    url = settings.api_url + PREFIX
    renderer = Renderer(own.images, settings.state_dir / "images")
    ctx = StorageContext(
        db=db,
        store=build_store(settings),
        public=PublicObjects(db, conninfo),
        keys=keys,
        signer=signer,
        hook=UploadHook(
            parse_upload_hook(own.upload_hook), http, signer, url=url, timeout_s=own.upload_hook.timeout_s
        ),
        renderer=renderer,
        service=settings.storage,
        settings=own,
        url=url,
        project_id=settings.project_id,
    )
    return StorageService(ctx, authoriser, lanes, http, renderer)
