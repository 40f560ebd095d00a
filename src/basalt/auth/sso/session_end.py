"""When an identity provider wants a session to end (SAML Core §2.7.2, `SessionNotOnOrAfter`): kept beside a PKCE flow
whose session does not exist yet."""

from datetime import datetime
from typing import Final
from uuid import UUID

from basalt.auth.users import Transaction

# Of flows that nobody finished nothing is left after a day.
KEEP: Final = """
with forgotten as (
    delete from basalt.sso_session_ends where flow_state_id in (
        select e.flow_state_id from basalt.sso_session_ends as e
            join auth.flow_state as f on f.id = e.flow_state_id
        where f.created_at < now() - interval '1 day'
        limit 100 for update of e skip locked)
)
insert into basalt.sso_session_ends (flow_state_id, not_after) values (%(flow_id)s, %(not_after)s)
"""
TAKE: Final = "delete from basalt.sso_session_ends where flow_state_id = %(flow_id)s returning not_after"


async def keep_session_end(tx: Transaction, flow_id: UUID, not_after: datetime) -> None:
    await tx.execute(KEEP, {"flow_id": flow_id, "not_after": not_after})


async def take_session_end(tx: Transaction, flow_id: UUID) -> datetime | None:
    """When the session of this flow is to end; None where nobody said."""
    row = await (await tx.execute(TAKE, {"flow_id": flow_id})).fetchone()
    return None if row is None else row["not_after"]
