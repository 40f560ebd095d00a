"""Values that Python compares exactly as PostgreSQL does: from PostgreSQL's text format to keys that are equal, ordered
and hashed as the values are. Instants must come in the ISO style and in UTC (`DateStyle`, `TimeZone`)."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

Key = Any  # hashable; ordered where `Comparable.is_ordered`

NEVER = 10**9  # a year beyond those that PostgreSQL knows


@dataclass(frozen=True, slots=True)
class Comparable:
    """`key` raises ValueError or ArithmeticError for text that is not of the type. Without `is_ordered` the keys only
    tell equality; `is_text` tells that they are the characters themselves."""

    key: Callable[[str], Key]
    is_ordered: bool = True
    is_text: bool = False


def find_comparable(
    type_oid: int, *, is_enum: bool, is_deterministic: bool, is_byte_order: bool
) -> Comparable | None:
    """For the base type of a column; the last two speak of its collation. None where PostgreSQL has to be asked."""
    if is_enum:
        return LABEL  # their order is not that of the labels
    if type_oid in TEXT_OIDS:
        return Comparable(_same, is_byte_order, is_text=True) if is_deterministic else None
    return BY_OID.get(type_oid)


def _same(text: str) -> str:
    return text


def _boolean(text: str) -> bool:
    return text == "t"


def _numeric(text: str) -> tuple[bool, Decimal]:
    """NaN is equal to itself and above everything (PostgreSQL, "Arbitrary Precision Numbers")."""
    number = Decimal(text)
    return (True, Decimal()) if number.is_nan() else (False, number)


def _float(text: str) -> tuple[bool, float]:
    number = float(text)
    return (False, number) if number == number else (True, 0.0)


def _instant(text: str) -> tuple[int, str]:
    """The year, which may have more than four digits or be before Christ, and the rest, which sorts as text: a fraction
    has no trailing zeros, and what follows it (`+00`) comes before a point and the digits."""
    if text.endswith("infinity"):
        return (-NEVER if text.startswith("-") else NEVER, "")
    year, _, rest = text.partition("-")
    return (1 - int(year), rest.removesuffix(" BC")) if rest.endswith(" BC") else (int(year), rest)


LABEL = Comparable(_same, is_ordered=False)
TEXT_OIDS = frozenset({25, 1043})  # text, character varying
BY_OID = {
    **dict.fromkeys((20, 21, 23, 26), Comparable(int)),  # int8, int2, int4, oid
    16: Comparable(_boolean),
    2950: Comparable(_same),  # uuid: fixed length, lower case
    1700: Comparable(_numeric),
    **dict.fromkeys((700, 701), Comparable(_float)),  # real, double precision
    **dict.fromkeys((1082, 1114, 1184), Comparable(_instant)),  # date, timestamp, timestamptz
}
