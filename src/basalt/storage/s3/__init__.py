"""The S3 protocol at `/storage/v1/s3`, path style (AWS S3 API reference; what of it Supabase Storage answers)."""

from basalt.storage.s3.api import S3Api

__all__ = ["S3Api"]
