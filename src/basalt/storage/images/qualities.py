"""Qualities where none was asked for: those of Supabase's imgproxy (`IMGPROXY_FORMAT_QUALITY`)."""

from collections.abc import Mapping
from typing import Final

QUALITIES: Final[Mapping[str, int]] = {"jpeg": 80, "webp": 80, "avif": 62}
