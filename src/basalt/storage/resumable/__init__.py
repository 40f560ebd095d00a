"""Resumable uploads, TUS 1.0.0 (tus.io/protocols/resumable-upload), as Supabase Storage offers them."""

from basalt.storage.resumable.api import ResumableApi

__all__ = ["ResumableApi"]
