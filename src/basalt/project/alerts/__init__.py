"""Alerts: something is wrong for a while, and whoever looks after the project is told once; once more when it is well.

`rules` is the one source: what is measured, where it begins to be wrong, and how Prometheus would put it (`prometheus`
prints its rules). `AlertWatch`, a part of the worker, measures, decides (`decision`), writes down (`basalt.alerts`) and
tells (`telling`), one worker at a time.
"""

from basalt.project.alerts.history import AlertRow, list_alerts
from basalt.project.alerts.prometheus import render_rules
from basalt.project.alerts.rules import RULES, Rule
from basalt.project.alerts.watch import AlertWatch

__all__ = ["RULES", "AlertRow", "AlertWatch", "Rule", "list_alerts", "render_rules"]
