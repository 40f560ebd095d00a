"""The pair of keys by which S3 tools act as the service role."""

from basalt.access import ProjectKeys
from basalt.config import StorageSettings


def s3_key_pair(settings: StorageSettings, keys: ProjectKeys) -> tuple[str, str]:
    """The project's access key and its secret: those of the settings, else the derived ones."""
    if settings.s3_access_key_id and settings.s3_secret_access_key:
        return settings.s3_access_key_id, settings.s3_secret_access_key
    return keys.s3_access_key_id, keys.s3_secret_access_key
