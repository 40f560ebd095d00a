"""What clients send, with the document's field names. Unknown fields are ignored."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,49}$")]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class RunTool(BaseModel):
    """`process-image` and `analyze-face`. The path is in the bucket `user_uploads`."""

    toolId: Word  # noqa: N815
    toolParameters: dict[str, Any] = {}  # noqa: N815
    originalImageStoragePath: Annotated[str, Field(min_length=1, max_length=1000)]  # noqa: N815


class DeleteGeneration(BaseModel):
    generationId: UUID  # noqa: N815


class Billing(BaseModel):
    """Who pays, for the acquirer. What is left out Paymob gets as `NA`, as its documentation asks."""

    firstName: Name | None = None  # noqa: N815
    lastName: Name | None = None  # noqa: N815
    phone: Annotated[str, Field(pattern=r"^\+?[0-9]{6,15}$")] | None = None
    city: Name | None = None
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None


class CreatePayment(BaseModel):
    """A pack of credits or a plan. `method` card answers an iframe, wallet an address to go to and wants the wallet's
    phone number."""

    kind: Literal["pack", "plan"]
    itemId: Word  # noqa: N815
    method: Literal["card", "wallet"] = "card"
    walletPhone: Annotated[str, Field(pattern=r"^01[0-9]{9}$")] | None = None  # noqa: N815
    billing: Billing = Billing()
