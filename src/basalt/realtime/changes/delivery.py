"""From committed transactions to the channels that asked for their changes and may see them.

A batch goes through in steps, each of which asks the database at most once for everything in it: which subscriptions
match, what the log left out, which filters only PostgreSQL can decide, who may see which row, and then the writing, in
the order of the log.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from weakref import WeakKeyDictionary

from basalt import observe
from basalt.postgres import LanePool
from basalt.realtime.changes.filters.database_conditions import Question, ask_database
from basalt.realtime.changes.filters.index import Asking
from basalt.realtime.changes.log.change import Change, Relation, Transaction, Unchanged, Value
from basalt.realtime.changes.policies.claims import Claims
from basalt.realtime.changes.policies.memory import Audience, Image
from basalt.realtime.changes.policies.role_access import RoleAccess
from basalt.realtime.changes.policies.visibility import Verdict, Visibility
from basalt.realtime.changes.position import Position, render_position
from basalt.realtime.changes.rendering import RenderedChange
from basalt.realtime.changes.subscriptions import Entry, Subscription, SubscriptionIndex
from basalt.realtime.changes.tables.catalog import TableCatalog
from basalt.realtime.changes.tables.completion import complete_changes, load_missing
from basalt.realtime.changes.tables.table import Table
from basalt.realtime.changes.tables.values import RowRenderer, render_rows
from basalt.realtime.changes.writing import Outgoing

TIMEOUT = "statement timeout"
PORTION = 30_000  # frames, some 30 ms
PORTION_BYTES = 256 * 1024  # for one receiver
REST_S = 30.0  # how long a policy that took too long is not asked again for the same subscriber
MANY_TIMES = (
    3  # in a row that a policy raised, before it is not asked for a second, then for two, then for four …
)


@dataclass(eq=False, slots=True)
class _Item:
    """One change of one table on its way. `asking`: who matches if PostgreSQL says so. By role, `audiences` may see the
    row as the change left it, `old_audiences` as it was before, where the log tells that."""

    table: Table
    change: Change
    position: Position
    committed_at: datetime
    matching: list[Entry] = field(default_factory=list)
    asking: list[Asking[Entry]] = field(default_factory=list)
    audiences: dict[str, Audience] = field(default_factory=dict)
    old_audiences: dict[str, Audience] = field(default_factory=dict)


class Delivery:
    """Stateless but for what it knows of tables and roles. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        lanes: LanePool,
        catalog: TableCatalog,
        visibility: Visibility,
        *,
        clock: Callable[[], float],
        on_delivered: Callable[[int], None],
    ) -> None:
        self._lanes = lanes
        self._catalog = catalog
        self._visibility = visibility
        self._clock = clock
        self._on_delivered = on_delivered
        self._parents: dict[tuple[Relation, int], Relation] = {}
        self._renderers: WeakKeyDictionary[Table, RowRenderer] = WeakKeyDictionary()
        self._resting: dict[tuple[int, Claims], float] = {}
        self._raised: dict[tuple[int, Claims], int] = {}

    def forget(self) -> None:
        """Tables, policies or privileges have changed."""
        self.look_again()
        self._resting.clear()
        self._raised.clear()

    def look_again(self) -> None:
        """Something may have changed that leaves no trace in the log."""
        self._catalog.forget()
        self._visibility.forget()
        self._parents.clear()
        now = self._clock()
        self._resting = {key: until for key, until in self._resting.items() if until > now}

    async def deliver(self, transactions: Sequence[Transaction], index: SubscriptionIndex) -> None:
        """To the subscriptions in `index`. Raises PostgresError, LanesUnavailable when the database cannot be asked:
        then nothing has been written."""
        items = await self._collect(transactions, index)
        if not items:
            return
        items = await self._complete(items)
        self._match(items, index)
        await self._ask_filters(items, index)
        items = [item for item in items if item.matching]
        accesses = await self._decide(items)
        rendered = await self._render(items)
        await self._write(items, rendered, accesses)
        self._note_delivered(items)

    # What is asked for

    async def _collect(self, transactions: Sequence[Transaction], index: SubscriptionIndex) -> list[_Item]:
        """A change of a partition counts for the partition and for every table above it."""
        items = []
        for transaction in transactions:
            for number, change in enumerate(transaction.changes):
                tables = await self._tables_of(change.relation, index)
                position = (transaction.lsn, number)
                items += [_Item(table, change, position, transaction.committed_at) for table in tables]
        return items

    async def _tables_of(self, relation: Relation, index: SubscriptionIndex) -> list[Table]:
        if not len(index):
            return []
        table = await self._catalog.describe(relation)
        tables = [table] if index.has_any(table.schema, table.name) else []
        for oid, schema, name in table.ancestors:
            if index.has_any(schema, name):
                parent = self._parents.get((relation, oid))
                if parent is None:
                    parent = Relation(oid, schema, name, relation.identity, relation.columns)
                    self._parents[relation, oid] = parent
                tables.append(await self._catalog.describe(parent))
        return tables

    async def _complete(self, items: list[_Item]) -> list[_Item]:
        """Large values that the log does not repeat."""
        lacking: dict[Table, list[_Item]] = {}
        for item in items:
            if item.change.new is not None and any(isinstance(value, Unchanged) for value in item.change.new):
                lacking.setdefault(item.table, []).append(item)
        for table, group in lacking.items():
            completed = await complete_changes(self._lanes, table, [item.change for item in group])
            for item, change in zip(group, completed, strict=True):
                item.change = change
        return items

    def _match(self, items: Iterable[_Item], index: SubscriptionIndex) -> None:
        for item in items:
            table, change = item.table, item.change
            # A partition is shown as the topmost table to those who asked for every table.
            with_wildcards = not any(index.has_any(schema, name) for _, schema, name in table.ancestors)
            found = index.find(table, change.operation, with_wildcards=with_wildcards)
            values = change.new if change.new is not None else change.old
            assert values is not None
            item.matching, item.asking = found.find(values)
            if item.position <= index.newest_since:
                item.matching = [entry for entry in item.matching if entry.subscription.since < item.position]

    async def _ask_filters(self, items: Iterable[_Item], index: SubscriptionIndex) -> None:
        asking = [(item, each) for item in items for each in item.asking]
        if not asking:
            return
        questions: list[Question] = [question for _, each in asking for question in each.questions]
        answers = await ask_database(self._lanes, questions)
        for item, each in asking:
            entries = [entry for entry in each.subscriptions if entry.subscription.since < item.position]
            if all(answers.holds[question] for question in each.questions):
                item.matching += entries
            failure = next(
                (answers.failures[asked] for asked, _ in each.questions if asked in answers.failures), None
            )
            if failure is not None:
                for entry in entries:
                    _end(entry.subscription, index, failure.message)

    # Who may see it

    async def _decide(self, items: Sequence[_Item]) -> Mapping[tuple[Table, str], RoleAccess]:
        """One question per table and role for all rows of the batch."""
        groups: dict[tuple[Table, str], list[_Item]] = {}
        for item in items:
            for role in {entry.subscription.claims.role for entry in item.matching}:
                groups.setdefault((item.table, role), []).append(item)
        found = await asyncio.gather(*(self._decide_for(*key, group) for key, group in groups.items()))
        return dict(zip(groups, found, strict=True))

    async def _decide_for(self, table: Table, role: str, items: Sequence[_Item]) -> RoleAccess:
        access = await self._visibility.access(table, role)
        asked = [item for item in items if item.change.operation != "DELETE" and _tells(item, access.reads)]
        if access.sees_all or not asked or not table.primary_key or not access.may_select_key:
            return access
        claims = {
            entry.subscription.claims: None
            for item in asked
            for entry in item.matching
            if entry.subscription.claims.role == role
        }
        if self._resting:
            claims = {one: None for one in claims if not self._is_resting(table, one)}
        images = await self._images(table, access, asked)
        # Of an old row nobody knows what the log leaves out: where policies read that, it is told to nobody.
        replacing = [item for item in asked if item.change.replaces_whole_row and not access.reads_missing]
        images += [_known(item.change.old or ()) for item in replacing]
        verdict = await self._visibility.decide(table, role, images, list(claims))
        for item, audience in zip(asked, verdict.audiences, strict=False):
            item.audiences[role] = audience
        for item, audience in zip(replacing, verdict.audiences[len(asked) :], strict=True):
            item.old_audiences[role] = audience
        self._note_failures(table, verdict, claims, asked)
        return access

    async def _images(self, table: Table, access: RoleAccess, items: Sequence[_Item]) -> list[Image]:
        """The rows as they were left, with what the policies read and the log does not tell: of that, what is not there
        any more is null."""
        images: list[Image] = [_known(item.change.new or ()) for item in items]
        if not access.reads_missing:
            return images
        found = await load_missing(self._lanes, table, [item.change for item in items])
        return [
            (*image, *((more or {}).get(name) for name in table.missing))
            for image, more in zip(images, found, strict=True)
        ]

    def _is_resting(self, table: Table, claims: Claims) -> bool:
        until = self._resting.get((table.oid, claims))
        return until is not None and self._clock() < until

    def _note_failures(
        self, table: Table, verdict: Verdict, asked: Iterable[Claims], items: Sequence[_Item]
    ) -> None:
        """Only those whom it concerns are told; the others have been served. Whoever's policies raise for everything
        rests for longer and longer, since asking for them makes the others wait."""
        failures = dict(verdict.failures)
        for claims in [each for each in asked if each not in failures] if self._raised else ():
            self._raised.pop((table.oid, claims), None)
        if not failures:
            return
        name, reason = f"{table.schema}.{table.name}", next(iter(failures.values()))
        observe.event("policy_failed", level="warning", table=name, subscribers=len(failures), reason=reason)
        rests = {claims: self._find_rest(table, claims, failures[claims], verdict) for claims in failures}
        told = {
            entry.subscription: failures[entry.subscription.claims]
            for item in items
            for entry in item.matching
            if entry.subscription.claims in failures
        }
        for subscription, message in told.items():
            rest_s = rests[subscription.claims]
            more = f"; for {rest_s:g} s none is delivered" if rest_s else ""
            subscription.receiver.tell_problem(
                f"A change of {name} was not delivered: its policies failed: {message}{more}"
            )

    def _find_rest(self, table: Table, claims: Claims, message: str, verdict: Verdict) -> float:
        """How long they rest from now on, in seconds."""
        key = (table.oid, claims)
        rest_s = 0.0
        if TIMEOUT in message:
            rest_s = REST_S
        elif not any(audience.includes(claims) for audience in verdict.audiences):
            times = self._raised[key] = self._raised.get(key, 0) + 1
            if times >= MANY_TIMES:
                rest_s = min(2.0 ** (times - MANY_TIMES), REST_S)
        if rest_s:
            self._resting[key] = self._clock() + rest_s
        return rest_s

    # Writing

    async def _render(self, items: Sequence[_Item]) -> list[RenderedChange]:
        """Values as JSON; columns that only PostgreSQL can render cost one round trip for each table."""
        by_table: dict[Table, list[_Item]] = {}
        for item in items:
            by_table.setdefault(item.table, []).append(item)
        rendered: dict[_Item, RenderedChange] = {}
        for table, group in by_table.items():
            renderer = self._renderers.setdefault(table, RowRenderer(table))
            rows = [
                values
                for item in group
                for values in (item.change.new, item.change.old)
                if values is not None
            ]
            fields = iter(
                await render_rows(self._lanes, renderer, rows)
                if renderer.database
                else map(renderer.render, rows)
            )
            for item in group:
                new = next(fields) if item.change.new is not None else None
                old = next(fields) if item.change.old is not None else None
                position = render_position(item.position)
                rendered[item] = RenderedChange(
                    table, item.change, item.committed_at, position, new=new, old=old
                )
        return [rendered[item] for item in items]

    async def _write(
        self,
        items: Sequence[_Item],
        rendered: Sequence[RenderedChange],
        accesses: Mapping[tuple[Table, str], RoleAccess],
    ) -> None:
        """In portions, between which others have their turn and what was written leaves."""
        outgoing = Outgoing()
        for item, one in zip(items, rendered, strict=True):
            roles = {role: access for (table, role), access in accesses.items() if table is item.table}
            self._on_delivered(outgoing.add(one, item.matching, roles, item.audiences, item.old_audiences))
            if outgoing.count > PORTION or outgoing.size > PORTION_BYTES:
                outgoing.write()
                outgoing = Outgoing()
                await asyncio.sleep(0)
        outgoing.write()

    def _note_delivered(self, items: Sequence[_Item]) -> None:
        for subscription in {entry.subscription: None for item in items for entry in item.matching}:
            subscription.receiver.note_delivered()


def _end(subscription: Subscription, index: SubscriptionIndex, reason: str) -> None:
    """A filter that PostgreSQL cannot answer in time would hold up everybody, change after change."""
    index.remove(subscription)
    subscription.receiver.tell_ended(f"The subscription has ended, its filter cannot be asked: {reason}")


def _tells(item: _Item, columns: Iterable[str]) -> bool:
    """Whether the row's values in these columns are known. Where they are not, because the row is another one by now,
    the policies cannot be asked and nobody sees this version; a later change follows in any case."""
    new, positions = item.change.new or (), item.table.positions
    return not any(isinstance(new[positions[name]], Unchanged) for name in columns if name in positions)


def _known(values: Sequence[Value]) -> tuple[str | None, ...]:
    """Null in the place of what is not known and not asked for."""
    return tuple(value if isinstance(value, str) else None for value in values)
