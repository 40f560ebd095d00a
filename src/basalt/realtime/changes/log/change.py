"""What the log tells: committed transactions and the rows that they changed, values in PostgreSQL's text format."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal


class Unchanged:
    """Stands for a large value that an update left as it was: the log does not repeat it (pgoutput `u`)."""


UNCHANGED: Final = Unchanged()

Value = str | None | Unchanged
Operation = Literal["INSERT", "UPDATE", "DELETE"]


@dataclass(frozen=True, slots=True)
class RelationColumn:
    """`is_identity`: part of the replica identity."""

    name: str
    type_oid: int
    is_identity: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as the log describes it, once before its first change and again whenever it was altered: then it is
    another object. `identity` is `relreplident`: d, n, f or i. Columns that the publication leaves out, and generated
    ones, are missing."""

    oid: int
    schema: str
    name: str
    identity: str
    columns: tuple[RelationColumn, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """`new` and `old` have one value per column of the relation; `old` holds null for what is not part of the replica
    identity, and is None where the log tells nothing (an insert, or an update that left the identity alone)."""

    relation: Relation
    operation: Operation
    new: tuple[Value, ...] | None
    old: tuple[Value, ...] | None

    @property
    def replaces_whole_row(self) -> bool:
        """Whether it is an update that tells all of the old row (replica identity full)."""
        return self.operation == "UPDATE" and self.old is not None and self.relation.identity == "f"


@dataclass(frozen=True, slots=True)
class Transaction:
    """`lsn` is the end of its commit record: what was read up to there is complete. `altered` tells that a statement of
    it changed tables, policies or privileges, `truncated` that it was too large to hold: `changes` are its first.
    `published` names tables (schema and name, `*` for any) that it brought into the publication: what was committed to
    them before has not been told."""

    lsn: int
    xid: int
    committed_at: datetime
    changes: list[Change] = field(default_factory=list)
    altered: bool = False
    truncated: bool = False
    published: tuple[tuple[str, str], ...] = ()
