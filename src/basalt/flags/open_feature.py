"""A provider for the OpenFeature SDK over a `FlagBook` (OpenFeature specification 0.8, §2).

The targeting key of a context is the user's id, its other attributes are the claims. A flag of another type than the
one that was asked for is a TYPE_MISMATCH, one that is not there FLAG_NOT_FOUND; the SDK then gives the default.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError, ProviderNotReadyError, TypeMismatchError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from basalt.flags.book import FlagBook
from basalt.flags.evaluation import FlagCaller

NAME = "basalt"

T = TypeVar("T")


class BasaltProvider(AbstractProvider):
    """`book` is loaded by whoever made it: the SDK's calls do not wait."""

    def __init__(self, book: FlagBook) -> None:
        super().__init__()
        self._book = book

    def get_metadata(self) -> Metadata:
        return Metadata(name=NAME)

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        return self._resolve(flag_key, (bool,), evaluation_context)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        return self._resolve(flag_key, (str,), evaluation_context)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        return self._resolve(flag_key, (int,), evaluation_context)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        details = self._resolve(flag_key, (int, float), evaluation_context)
        details.value = float(details.value)  # JSON knows one kind of number, the SDK two
        return details

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        return self._resolve(flag_key, (list, dict), evaluation_context)

    def _resolve(
        self, name: str, kinds: tuple[type, ...], context: EvaluationContext | None
    ) -> FlagResolutionDetails[Any]:
        if not self._book.is_loaded:
            raise ProviderNotReadyError("The feature flags are not loaded")
        decision = self._book.decide(name, caller_of_context(context))
        if decision is None:
            raise FlagNotFoundError(f"There is no flag {name}")
        if not _is_one_of(decision.value, kinds):
            raise TypeMismatchError(f"The flag {name} has another type: {type(decision.value).__name__}")
        return FlagResolutionDetails(
            value=decision.value, variant=decision.variant, reason=Reason(decision.reason)
        )


def caller_of_context(context: EvaluationContext | None) -> FlagCaller:
    if context is None:
        return FlagCaller()
    return FlagCaller(context.targeting_key, context.targeting_key, context.attributes)


def _is_one_of(value: object, kinds: tuple[type, ...]) -> bool:
    """True is no number."""
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
