"""Texted codes that the provider makes and checks itself (Twilio Verify; GoTrue verify.go, reauthenticate.go).

Ours is stored and never sent: it tells that a code is outstanding, counts the wrong tries and is used once. GoTrue asks
the provider for any number; here one that nobody has asked a code for, or that has been guessed at too often, is
refused without asking.
"""

from collections.abc import Sequence

from basalt.auth.call import Call
from basalt.auth.one_time import TokenType, has_token, take_token
from basalt.auth.users import Transaction, User


async def use_provider_code(
    call: Call, tx: Transaction, user: User, token_types: Sequence[TokenType], phone: str, code: str
) -> TokenType | None:
    """Consume the outstanding token if the provider made `code` for the number. None when it is wrong, old or used."""
    if not code or not await has_token(tx, user, token_types):
        return None
    if not await call.auth.messages.check_code(phone, code):
        return None
    return await take_token(tx, user, token_types)
