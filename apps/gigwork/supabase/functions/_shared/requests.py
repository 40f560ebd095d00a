"""What clients send, with the document's field names. Unknown fields are ignored, as its Zod schemas do."""

from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

Latitude = Annotated[float, Field(strict=True, ge=-90, le=90)]
Longitude = Annotated[float, Field(strict=True, ge=-180, le=180)]
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,49}$")]
PeriodType = Literal["daily", "weekly", "monthly", "all_time"]


class ApplyToGig(BaseModel):
    gigId: UUID  # noqa: N815
    coverMessage: Annotated[str, Field(max_length=2000)] | None = None  # noqa: N815


class ClockIn(BaseModel):
    gigId: UUID  # noqa: N815
    lat: Latitude
    lng: Longitude


class ClockOut(BaseModel):
    timesheetId: UUID  # noqa: N815
    lat: Latitude
    lng: Longitude


class CheckAchievements(BaseModel):
    userId: UUID | None = None  # noqa: N815


class AwardPoints(BaseModel):
    """`sourceId` makes a repeated call harmless: one award per user, reason and source."""

    userId: UUID  # noqa: N815
    points: Annotated[int, Field(strict=True, ge=-1_000_000, le=1_000_000)]
    reason: Word = "adjustment"
    sourceId: UUID | None = None  # noqa: N815


class UpdateLeaderboard(BaseModel):
    """Without `periodType` every running period; `periodStart` is any day of the period."""

    periodType: PeriodType | None = None  # noqa: N815
    periodStart: date | None = None  # noqa: N815


class SendNotification(BaseModel):
    """`channels` beside the app itself."""

    userId: UUID  # noqa: N815
    channels: list[Literal["push", "sms"]] = ["push"]
    kind: Word = "general"
    title: Annotated[str, Field(min_length=1, max_length=200)]
    body: Annotated[str, Field(max_length=2000)] = ""
    data: dict[str, object] = {}
