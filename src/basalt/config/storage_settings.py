"""Settings of Storage: the Supabase CLI's `[storage]`, and what is Basalt's own in `[basalt.storage]`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from basalt.config.setting import section, setting


@dataclass(frozen=True, kw_only=True)
class BucketSettings:
    """A bucket that is made, or brought to these settings, at every start; what is not set stays as it is."""

    public: bool | None = setting(None, "Anyone may read its objects; a new bucket is not public.")
    file_size_limit_bytes: int | None = setting(None, "Largest object; by default the server's limit.", low=0)
    allowed_mime_types: tuple[str, ...] = setting((), "Types that may be uploaded; none is any.")
    objects_path: str | None = setting(
        None, "Folder relative to supabase/ whose files are put into the bucket with the seeds."
    )


@dataclass(frozen=True, kw_only=True)
class ImageTransformationSettings:
    enabled: bool = setting(True, "Serve `/render/image`.")


@dataclass(frozen=True, kw_only=True)
class S3ProtocolSettings:
    enabled: bool = setting(True, "Serve the S3 protocol at `/storage/v1/s3`.")


@dataclass(frozen=True, kw_only=True)
class StorageServiceSettings:
    enabled: bool = setting(True, "Serve Storage under /storage/v1.")
    file_size_limit_bytes: int = setting(50 * 1024 * 1024, "Largest object; a bucket may have less.", low=1)
    image_transformation: ImageTransformationSettings = section(ImageTransformationSettings)
    s3_protocol: S3ProtocolSettings = section(S3ProtocolSettings)
    buckets: Mapping[str, BucketSettings] = setting({}, "A bucket that is made at the start.")


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """Limits of image transformation."""

    processes: int = setting(2, "Processes that work on images.", low=1, high=64)
    max_pixels: int = setting(50_000_000, "Most pixels of a source image.", low=1)
    max_source_bytes: int = setting(25 * 1024 * 1024, "Largest source image.", low=1)
    timeout_s: float = setting(20.0, "Longest work on one image.", low=0.1)
    memory_mb: int = setting(1024, "Most memory of one of the processes.", low=128)
    cache_bytes: int = setting(
        512 * 1024 * 1024, "Disk space for finished images; the oldest make room.", low=0
    )
    engine: Literal["auto", "vips", "pillow"] = setting("auto", "`auto` is libvips where it is present.")


@dataclass(frozen=True, kw_only=True)
class ObjectStoreSettings:
    """An S3-compatible store for the bytes, used with `backend = "s3"`."""

    endpoint: str | None = setting(None, "Its URL; by default Amazon's for the region.")
    region: str = setting("us-east-1", "Its region.")
    bucket: str | None = setting(None, "The bucket in it, which must exist.")
    prefix: str = setting(
        "",
        "What all keys in it begin with. Two projects must not share it: each takes away what it does not know.",
    )
    access_key_id: str | None = setting(
        None, "Access key; by default what the environment offers (`AWS_…`, instance roles)."
    )
    secret_access_key: str | None = setting(None, "Secret of the access key.", is_secret=True)
    session_token: str | None = setting(None, "Session token of temporary credentials.", is_secret=True)
    virtual_hosted: bool = setting(False, "Address the bucket as a part of the host name.")
    redirect_downloads: bool = setting(
        False, "Answer downloads with a redirect to a presigned URL of the store."
    )


@dataclass(frozen=True, kw_only=True)
class UploadHookSettings:
    """Asked over HTTP before an upload becomes visible; a virus scanner for one."""

    enabled: bool = setting(False, "Ask the hook.")
    uri: str | None = setting(None, "Its URL.")
    secrets: str | None = setting(
        None, "Standard Webhooks secrets (`v1,whsec_…`), parted by `|`.", is_secret=True
    )
    timeout_s: float = setting(30.0, "Longest wait for its answer; then the upload is refused.", low=0.1)


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    backend: Literal["disk", "s3"] = setting(
        "disk", "Where the bytes are: in a folder, or in `[basalt.storage.s3]`."
    )
    path: str | None = setting(
        None, "Folder of the disk back end, relative to the project; by default `storage` in its state."
    )
    deleted_retention_s: float = setting(
        3600.0, "How long the bytes of deleted and replaced objects are kept.", low=0
    )
    orphan_age_s: float = setting(
        86400.0, "Age at which bytes that no object refers to are taken away.", low=60
    )
    resumable_expiry_s: float = setting(
        3600.0, "A resumable upload ends after so long without progress.", low=1
    )
    multipart_expiry_s: float = setting(
        7 * 86400.0, "A multipart upload over S3 that was begun so long ago is aborted.", low=60
    )
    s3_access_key_id: str | None = setting(
        None, "Access key of the S3 protocol; by default derived from the project's secret."
    )
    s3_secret_access_key: str | None = setting(
        None, "Its secret; by default derived likewise.", is_secret=True
    )
    s3_region: str = setting("local", "Region that the S3 protocol names.")
    images: ImageSettings = section(ImageSettings)
    s3: ObjectStoreSettings = section(ObjectStoreSettings)
    upload_hook: UploadHookSettings = section(UploadHookSettings)
