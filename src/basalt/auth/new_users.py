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
from basalt.auth.users import Transaction, User, create_user, load_user, new_user


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
    """Raises AuthError with the hook's refusal, psycopg's UniqueViolation when the address was taken meanwhile. The
    other hook runs when the flow has ended its transaction: whoever is told must find the user in the database."""
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
    if call.auth.hooks.is_enabled("after_user_created"):
        call.new_users.append(user.id)
    return await create_user(tx, user)


async def run_new_user_hooks(call: Call) -> None:
    """For the users that the request made, complete as they are now. Raises AuthError with what the
    hook answers, although the user stays (GoTrue triggerAfterUserCreated)."""
    for user_id in call.new_users:
        async with call.auth.transaction() as tx:
            user = await load_user(tx, user_id)
        if user is not None:  # else the flow was undone and tried again
            payload = {"user": render_user(user)}
            await call.auth.hooks.run_apart(
                call.request, call.auth.transaction, "after_user_created", payload
            )
