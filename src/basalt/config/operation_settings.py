"""Settings of what runs a project in production: alerts, what becomes of a user's data, and how long rows are kept."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from basalt.config.setting import section, setting


@dataclass(frozen=True, kw_only=True)
class AlertRuleSettings:
    enabled: bool = setting(True, "Look at it.")
    threshold: float | None = setting(None, "Where it begins to be wrong; by default the rule's own.")
    for_s: float | None = setting(
        None,
        "How long before it is told, and how long it must be well again; by default the rule's own.",
        low=0,
    )


@dataclass(frozen=True, kw_only=True)
class AlertRulesSettings:
    """The rules by name; `docs/how-to/alerts.md` has what each measures and from where on it is wrong."""

    queue_age: AlertRuleSettings = section(AlertRuleSettings)
    queue_backlog: AlertRuleSettings = section(AlertRuleSettings)
    dead_letters: AlertRuleSettings = section(AlertRuleSettings)
    job_failure_rate: AlertRuleSettings = section(AlertRuleSettings)
    cron_failures: AlertRuleSettings = section(AlertRuleSettings)
    webhooks_given_up: AlertRuleSettings = section(AlertRuleSettings)
    notification_backlog: AlertRuleSettings = section(AlertRuleSettings)
    delivery_failure_rate: AlertRuleSettings = section(AlertRuleSettings)
    database_connections: AlertRuleSettings = section(AlertRuleSettings)
    replication_lag: AlertRuleSettings = section(AlertRuleSettings)
    disk_free: AlertRuleSettings = section(AlertRuleSettings)
    backup_age: AlertRuleSettings = section(AlertRuleSettings)
    request_latency_p95: AlertRuleSettings = section(AlertRuleSettings)
    request_latency_p99: AlertRuleSettings = section(AlertRuleSettings)
    request_error_rate: AlertRuleSettings = section(AlertRuleSettings)


ALERT_RULE_NAMES = tuple(spec.name for spec in fields(AlertRulesSettings))


@dataclass(frozen=True, kw_only=True)
class AlertSettings:
    enabled: bool = setting(True, "Let the worker look whether something is wrong.")
    interval_s: float = setting(20.0, "Pause between two looks.", low=0.1, high=3600)
    operators: tuple[str, ...] = setting(
        (), "Ids of the users who are told by notification (`basalt.alert`)."
    )
    webhook_url: str | None = setting(
        None, "Address that is sent each alert as JSON, as a database webhook is.", is_secret=True
    )
    keep_s: float = setting(
        90 * 86400.0, "Time for which the history of alerts is kept; 0 is for ever.", low=0
    )
    rules: AlertRulesSettings = section(AlertRulesSettings)


@dataclass(frozen=True, kw_only=True)
class PrivacyTableSettings:
    """What becomes of a table's rows of a user, by the table's name with its schema."""

    user_columns: tuple[str, ...] = setting(
        (), "Columns that hold the user's id without a foreign key that says so."
    )
    on_erase: Literal["", "delete", "anonymise", "keep"] = setting(
        "", "What an erasure does with the rows; by default what the foreign key says."
    )
    columns: tuple[str, ...] = setting((), "Columns that `anonymise` empties.")
    export: bool = setting(True, "Have the rows in exports.")
    omit: tuple[str, ...] = setting((), "Columns that exports leave out.")


@dataclass(frozen=True, kw_only=True)
class PrivacySettings:
    tables: Mapping[str, PrivacyTableSettings] = setting(
        {}, 'Rules for tables, such as `[basalt.privacy.tables."public.orders"]`.'
    )


@dataclass(frozen=True, kw_only=True)
class RetentionSettings:
    """Rows of a table that are older than so long go, or are marked."""

    enabled: bool = setting(True, "Have this policy.")
    table: str = setting("", "The table, with its schema.")
    column: str = setting(
        "created_at", "Its column of type timestamptz, timestamp or date that tells the age."
    )
    older_than_s: float = setting(0.0, "Age from which on a row is due.", low=0)
    action: Literal["delete", "archive", "set"] = setting(
        "delete", "`archive` moves the row to `archive_table`, `set` gives `set_column` its value."
    )
    archive_table: str = setting("", "Table with the same columns, for `archive`.")
    set_column: str = setting("", "Column that `set` writes; rows that have the value already are not due.")
    set_value: str = setting("now", "What it writes, as text; `now` is the time, `null` nothing.")
    unless: str = setting("", "Condition in SQL; rows for which it holds are kept.")
    batch_size: int = setting(1000, "Rows of one transaction.", low=1, high=100_000)
    schedule: str = setting("0 3 * * *", "Cron expression by which it runs.")
    timezone: str = setting("UTC", "Time zone of the schedule.")
