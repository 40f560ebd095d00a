"""Hooks: the project's own code, asked at fixed points of a flow (GoTrue hooks/v0hooks).

A hook is a Postgres function, called in the flow's transaction, or an HTTP endpoint.
"""

from collections.abc import Mapping
from typing import Any, Literal

from basalt.auth.users import Transaction
from basalt.config import HooksSettings
from basalt.http import OutgoingClient, Request

HookName = Literal[
    "custom_access_token",
    "send_email",
    "send_sms",
    "mfa_verification_attempt",
    "password_verification_attempt",
    "before_user_created",
    "after_user_created",
]


class Hooks:
    """The hooks of one project."""

    def __init__(self, settings: HooksSettings, http: OutgoingClient) -> None:
        self._settings = settings
        self._http = http

    def is_enabled(self, name: HookName) -> bool:
        hook = getattr(self._settings, name)
        return bool(hook.enabled and hook.uri)

    async def run(
        self, request: Request, tx: Transaction, name: HookName, payload: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """What the hook answers to `payload`, to which `metadata` is added; None where no such hook is set. Raises
        AuthError with the hook's own refusal, hook_timeout, hook_timeout_after_retry, hook_payload_…,
        unexpected_failure."""
        return None
