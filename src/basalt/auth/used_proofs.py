"""Signed statements are good once: whoever sees a wallet's message or a SAML assertion on its way cannot sign in
with it again. A digest stays in the database until the statement is refused for its age."""

import hashlib
from datetime import datetime
from typing import Final, Literal

from basalt.auth.users import Transaction

# What has expired is taken away by the way, a little at a time, and an hour late: the clocks of the database and of
# this process may differ.
USE_ONCE: Final = """
with forgotten as (
    delete from basalt.used_proofs where (kind, digest) in (
        select kind, digest from basalt.used_proofs where expires_at < now() - interval '1 hour'
        limit 100 for update skip locked)
)
insert into basalt.used_proofs (kind, digest, expires_at) values (%(kind)s, %(digest)s, %(expires_at)s)
on conflict do nothing
returning true
"""


async def use_proof(
    tx: Transaction, kind: Literal["web3", "saml"], proof: str, *, expires_at: datetime
) -> bool:
    """Whether the statement is used for the first time; it is used up when the transaction commits. Of two requests
    with one statement the second waits here for the first."""
    digest = hashlib.sha256(proof.encode()).digest()
    row = await tx.execute(USE_ONCE, {"kind": kind, "digest": digest, "expires_at": expires_at})
    return await row.fetchone() is not None
