"""A new user by way of the project's hooks: `before_user_created` may refuse, `after_user_created` is told.

Every flow that lets people in uses it; administrators create users without being asked (GoTrue hooks.go).
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from basalt.auth.call import Call
from basalt.auth.render import render_user
from basalt.auth.users import Transaction, User, create_user, new_user


async def admit_user(
    call: Call,
    tx: Transaction,
    *,
    email: str = "",
    phone: str = "",
    password_hash: str | None = "",
    app_metadata: Mapping[str, Any],
    user_metadata: Mapping[str, Any],
    is_anonymous: bool = False,
    is_sso_user: bool = False,
) -> User:
    """Raises AuthError with the hook's refusal, psycopg's UniqueViolation when the address was taken meanwhile."""
    user = new_user(
        user_id=uuid4(),
        audience=call.audience,
        role="authenticated",
        email=email.lower(),
        phone=phone,
        password_hash=password_hash,
        app_metadata=app_metadata,
        user_metadata=user_metadata,
        is_anonymous=is_anonymous,
        is_sso_user=is_sso_user,
    )
    if call.auth.hooks.is_enabled("before_user_created"):
        now = datetime.now(UTC)
        shown = replace(user, times={**user.times, "created_at": now, "updated_at": now})
        await call.auth.hooks.run(call.request, tx, "before_user_created", {"user": render_user(shown)})
    return await create_user(tx, user)


async def tell_of_new_user(call: Call, tx: Transaction, user: User) -> None:
    """To be called when the user is complete, with its identities."""
    if call.auth.hooks.is_enabled("after_user_created"):
        await call.auth.hooks.run(call.request, tx, "after_user_created", {"user": render_user(user)})
