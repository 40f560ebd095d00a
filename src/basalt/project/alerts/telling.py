"""One message when an alert fires and one when it is well again: to operators by the notification engine, and to an
address as a webhook. Both are rows of the transaction that changes the alert."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

import orjson
import psycopg

from basalt import observe
from basalt.config import Settings
from basalt.project.alerts.rules import Rule

EVENT_TYPE: Final = "basalt.alert"
WEBHOOK_TIMEOUT_MS: Final = 10_000
MOST_APART: Final = 10  # messages of one rule in one look
NAMED: Final = 3

HAS_NOTIFY: Final = "select to_regclass('public.notification_templates') is not null as has"
# A project may write its own; then it has these already, in a newer version.
ENSURE_TEMPLATES: Final = """
insert into public.notification_templates (event_type, channel, locale, version, subject_template, body_template)
select %(event_type)s, channel, %(locale)s, 1, '{{ title }}', '{{ summary }}' || E'\\n' || '{{ advice }}'
from unnest(array['in_app', 'email', 'push']) as channel
where not exists (select from public.notification_templates as t where t.event_type = %(event_type)s)
on conflict do nothing
"""
# Without those who are no users any more: the others are told all the same.
ISSUE: Final = """
select public.issue_notification(%(event_type)s, audience => jsonb_build_object('user_ids', jsonb_agg(u.id)),
    context => %(context)s::jsonb, priority => 0, dedup_key => %(dedup_key)s)
from auth.users as u where u.id = any (%(operators)s::uuid[]) and u.deleted_at is null
having count(*) > 0
"""
POST: Final = """
insert into basalt.webhook_requests (hook_name, table_name, method, url, headers, body, timeout_milliseconds)
values ('basalt.alert', 'basalt.alerts', 'POST', %s, '{"Content-Type": "application/json"}', %s, %s)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """An alert that has just been fired or resolved."""

    id: int
    rule: Rule
    subject: str
    state: Literal["firing", "resolved"]
    value: float
    threshold: float
    at: datetime

    @property
    def summary(self) -> str:
        return render_summary(self.rule, self.subject, self.value, self.threshold)

    @property
    def body(self) -> Mapping[str, Any]:
        return {
            "type": EVENT_TYPE,
            "id": self.id,
            "rule": self.rule.name,
            "subject": self.subject,
            "severity": self.rule.severity,
            "state": self.state,
            "value": self.value,
            "threshold": self.threshold,
            "summary": self.summary,
            "runbook": f"docs/how-to/runbooks.md#{self.rule.runbook}",
            "at": self.at.isoformat(),
        }


def bundle(news: Iterable[News]) -> Iterator[News]:
    """Many of one rule in one look are one piece of news, with the id of the first, the worst value and some names: a
    database that is away for a minute must not send a thousand messages."""
    groups: dict[tuple[str, str], list[News]] = {}
    for each in news:
        groups.setdefault((each.rule.name, each.state), []).append(each)
    for group in groups.values():
        if len(group) <= MOST_APART:
            yield from group
            continue
        worst = (min if group[0].rule.is_low_wrong else max)(each.value for each in group)
        names = ", ".join(each.subject for each in group[:NAMED])
        yield replace(group[0], subject=f"{names} and {len(group) - NAMED} more", value=worst)


async def tell(connection: psycopg.AsyncConnection[Any], settings: Settings, news: News) -> None:
    """Within the caller's transaction. What cannot be told by notification is logged, and told by the rest."""
    alerts = settings.basalt.alerts
    if alerts.operators and settings.notify.enabled:
        await _notify(connection, settings, news)
    if alerts.webhook_url:
        body = orjson.dumps(news.body).decode()
        await connection.execute(POST, [alerts.webhook_url, body, WEBHOOK_TIMEOUT_MS])


def log(news: News) -> None:
    observe.event(
        f"alert_{news.state}",
        level="error" if news.state == "firing" else "info",
        rule=news.rule.name,
        subject=news.subject,
        value=news.value,
        summary=news.summary,
    )


async def _notify(connection: psycopg.AsyncConnection[Any], settings: Settings, news: News) -> None:
    title = "Alert" if news.state == "firing" else "Well again"
    context = {
        **news.body,
        "title": f"{title}: {settings.project_id}, {news.rule.name}",
        "advice": f"Runbook: {news.body['runbook']}" if news.state == "firing" else "Nothing is to be done.",
    }
    try:
        async with connection.transaction():
            cursor = await connection.execute(HAS_NOTIFY)
            if not (await cursor.fetchone() or {})["has"]:
                return
            await connection.execute(
                ENSURE_TEMPLATES, {"event_type": EVENT_TYPE, "locale": settings.notify.default_locale}
            )
            await connection.execute(
                ISSUE,
                {
                    "event_type": EVENT_TYPE,
                    "operators": list(settings.basalt.alerts.operators),
                    "context": orjson.dumps(context).decode(),
                    "dedup_key": f"{news.id}:{news.state}",
                },
            )
    except psycopg.Error as error:
        if connection.closed or connection.broken:
            raise
        observe.event(
            "alert_not_notified", level="error", rule=news.rule.name, reason=error.diag.message_primary
        )


def render_summary(rule: Rule, subject: str, value: float, threshold: float) -> str:
    return rule.summary.format(
        subject=subject or rule.name,
        value=render_value(value, rule.unit),
        threshold=render_value(threshold, rule.unit),
    )


def render_value(value: float, unit: str) -> str:
    """
    >>> [render_value(412, "s"), render_value(7300, "s"), render_value(0.123, "share"), render_value(3e9, "bytes")]
    ['6.9 min', '2.0 h', '12%', '2.8 GiB']
    >>> render_value(12, "count"), render_value(0.25, "s")
    ('12', '0.25 s')
    """
    match unit:
        case "share":
            return f"{100 * value:.0f}%"
        case "bytes":
            return f"{value / 1024**3:.1f} GiB" if value >= 1024**3 else f"{value / 1024**2:.0f} MiB"
        case "s" if value >= 7200:
            return f"{value / 3600:.1f} h"
        case "s" if value >= 120:
            return f"{value / 60:.1f} min"
        case "s":
            return f"{value:.3g} s"
        case _:
            return f"{value:.0f}"
