"""What every flow of Storage is given: the room's own things, without any request."""

from dataclasses import dataclass

from basalt.access import ProjectKeys
from basalt.config import StorageServiceSettings, StorageSettings
from basalt.storage.database import StorageDatabase
from basalt.storage.hook import UploadHook
from basalt.storage.images import Renderer
from basalt.storage.public_objects import PublicObjects
from basalt.storage.signing import Signer
from basalt.storage.stores import Store


@dataclass(frozen=True, slots=True)
class StorageContext:
    """Built once per process. `url` is the public URL of Storage, without a slash at its end; `project_id` is the
    access key of users over S3."""

    db: StorageDatabase
    store: Store
    public: PublicObjects
    keys: ProjectKeys
    signer: Signer
    hook: UploadHook
    renderer: Renderer
    service: StorageServiceSettings
    settings: StorageSettings
    url: str
    project_id: str
