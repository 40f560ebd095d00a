"""What single values of alerts, privacy rules and retention policies cannot tell."""

from collections.abc import Iterator, Mapping
from uuid import UUID

from basalt.config.cron_line import parse_cron_line
from basalt.config.function_checks import is_time_zone
from basalt.config.operation_settings import AlertSettings, PrivacySettings, RetentionSettings
from basalt.config.telemetry_settings import is_http_url


def find_operation_problems(
    alerts: AlertSettings, privacy: PrivacySettings, retention: Mapping[str, RetentionSettings]
) -> Iterator[tuple[str, str]]:
    """Keys below `basalt` with what is wrong with them."""
    for operator in alerts.operators:
        if not _is_uuid(operator):
            yield "alerts.operators", f"{operator!r} is no user's id"
    if alerts.webhook_url and not is_http_url(alerts.webhook_url):
        yield "alerts.webhook_url", "expected an address that begins with https:// or http://"
    for name, table in privacy.tables.items():
        if name.count(".") != 1:
            yield f"privacy.tables.{name}", "a table's name has its schema before it"
        if table.on_erase == "anonymise" and not table.columns:
            yield f"privacy.tables.{name}.columns", "say which columns an erasure empties"
    for name, policy in retention.items():
        for key, reason in _find_retention_problems(policy):
            yield f"retention.{name}.{key}", reason


def _find_retention_problems(policy: RetentionSettings) -> Iterator[tuple[str, str]]:
    if policy.table.count(".") != 1:
        yield "table", "a table's name has its schema before it"
    if policy.older_than_s <= 0:
        yield "older_than", "say from which age on rows are due"
    if policy.action == "archive" and policy.archive_table.count(".") != 1:
        yield "archive_table", "say where `archive` puts the rows; a table's name has its schema before it"
    if policy.action == "set" and not policy.set_column:
        yield "set_column", "say which column `set` writes"
    try:
        parse_cron_line(policy.schedule)
    except ValueError as exc:
        yield "schedule", f"{policy.schedule!r} is no schedule: {exc}"
    if not is_time_zone(policy.timezone):
        yield "timezone", f"{policy.timezone!r} is no time zone; use an IANA name such as Asia/Singapore"


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
