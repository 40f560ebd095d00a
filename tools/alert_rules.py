"""Prints the rules of alerts with their own thresholds: `python tools/alert_rules.py > ops/prometheus/alerts.yml`."""

from basalt.config import AlertSettings
from basalt.project import render_rules

if __name__ == "__main__":
    print(render_rules(AlertSettings()), end="")
