"""The rules as Prometheus reads them: `python tools/alert_rules.py > ops/prometheus/alerts.yml`, or with
a project's own thresholds `basalt alerts rules DIR`."""

from math import ceil

from basalt.config import AlertSettings
from basalt.project.alerts.rules import RULES, Rule
from basalt.project.alerts.telling import render_value

HEAD = """\
# Alerts of Basalt for Prometheus (`rule_files`). Printed by `basalt alerts rules`; change thresholds in [basalt.alerts]
# and print it again. Metrics: docs/reference/metrics.md. What to do: docs/how-to/runbooks.md.
groups:
  - name: basalt
    rules:
"""

GROUPED = ("queue", "service", "provider", "subject")
HUMAN = {"s": "humanizeDuration", "share": "humanizePercentage", "bytes": "humanize1024", "count": "humanize"}

# What only an observer from outside can tell.
OUTSIDE = """\
      - alert: BasaltDown
        expr: 'up{job=~"basalt.*"} == 0'
        for: 1m
        labels:
          severity: critical
        annotations:
          summary: '{{ $labels.instance }} does not answer'
          runbook_url: 'docs/how-to/runbooks.md#requests-fail'
      - alert: BasaltDatabaseDown
        expr: 'max(basalt_postgres_up) == 0'
        for: 1m
        labels:
          severity: critical
        annotations:
          summary: 'PostgreSQL does not answer'
          runbook_url: 'docs/how-to/runbooks.md#requests-fail'
      - alert: BasaltProcessRestarts
        expr: 'sum by (name) (increase(basalt_process_restarts_total[15m])) > 2'
        for: 0s
        labels:
          severity: warning
        annotations:
          summary: '{{ $labels.name }} was started again {{ $value | humanize }} times within 15 minutes'
          runbook_url: 'docs/how-to/runbooks.md#requests-fail'
"""


def render_rules(settings: AlertSettings) -> str:
    """A file of rules in YAML. Texts are quoted, so that no value is taken for something else."""
    return (
        HEAD + "".join(_render_rule(rule, settings) for rule in RULES if rule.is_enabled(settings)) + OUTSIDE
    )


def _render_rule(rule: Rule, settings: AlertSettings) -> str:
    threshold, for_s = rule.configured(settings)
    sign = "<" if rule.is_low_wrong else ">"
    name = "Basalt" + rule.name.title().replace("_", "")
    expression = rule.prometheus_expression()
    label = next((name for name in GROUPED if f"by ({name}" in expression), "")
    summary = rule.summary.format(
        subject=f"{{{{ $labels.{label} }}}}" if label else "as `basalt doctor` lists",
        value=f"{{{{ $value | {HUMAN[rule.unit]} }}}}",
        threshold=render_value(threshold, rule.unit),
    )
    return f"""\
      - alert: {name}
        expr: {_quote(f"({expression}) {sign} {threshold:.15g}")}
        for: {ceil(for_s)}s
        labels:
          severity: {rule.severity}
        annotations:
          summary: {_quote(summary)}
          runbook_url: {_quote(f"docs/how-to/runbooks.md#{rule.runbook}")}
"""


def _quote(text: str) -> str:
    """A single-quoted scalar, YAML 1.2 §7.3.2.

    >>> _quote("it's {a: b}")
    "'it''s {a: b}'"
    """
    return "'" + text.replace("'", "''") + "'"
