"""Dashboards and rules name metrics that exist, and are what their sources print."""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from basalt.config import AlertSettings
from basalt.project import render_rules

pytestmark = [pytest.mark.req("P17", "H27")]

ROOT = Path(__file__).parent.parent.parent
DASHBOARDS = sorted(path.stem for path in (ROOT / "ops" / "grafana").glob("*.json"))
PANELS_OF_GRAFANA = ("timeseries", "stat", "table")


def known_metrics() -> set[str]:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text("utf-8")
    names = set()
    for name, kind in re.findall(r"^\| `(basalt_\w+)` \| (\w+) \|", page, re.M):
        names |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if kind == "histogram" else {name}
    return names


def named_metrics(text: str) -> set[str]:
    return set(re.findall(r"\bbasalt_\w+", text))


def load_tool(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_metric_of_the_rules_exists() -> None:
    assert named_metrics(render_rules(AlertSettings())) - known_metrics() == set()


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_metric_of_a_dashboard_exists(name: str) -> None:
    dashboard = json.loads((ROOT / "ops" / "grafana" / f"{name}.json").read_text("utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert named_metrics(" ".join(queries)) - known_metrics() == set()
    assert all(queries)
    assert {panel["type"] for panel in dashboard["panels"]} <= set(PANELS_OF_GRAFANA)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_dashboards_are_what_their_source_prints() -> None:
    tool = load_tool("dashboards")
    assert sorted(tool.DASHBOARDS) == DASHBOARDS
    for name in DASHBOARDS:
        assert (ROOT / "ops" / "grafana" / f"{name}.json").read_text("utf-8") == tool.render_dashboard(name)


def test_the_rules_have_the_shape_that_prometheus_reads(tmp_path: Path) -> None:
    """Checked by promtool where it is installed (`apt-get install prometheus`)."""
    text = (ROOT / "ops" / "prometheus" / "alerts.yml").read_text("utf-8")
    rules = re.split(r"^      - alert: ", text, flags=re.M)[1:]
    assert len(rules) > 15
    for rule in rules:
        assert re.fullmatch(
            r"Basalt\w+\n        expr: '([^']|'')+'\n        for: \d+[sm]\n        labels:\n"
            r"          severity: (critical|warning)\n        annotations:\n          summary: '([^']|'')+'\n"
            r"          runbook_url: 'docs/how-to/runbooks\.md#[a-z-]+'\n",
            rule,
        ), rule
    if promtool := shutil.which("promtool"):
        checked = subprocess.run(
            [promtool, "check", "rules", ROOT / "ops" / "prometheus" / "alerts.yml"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_runbook_that_is_named_exists() -> None:
    page = (ROOT / "docs" / "how-to" / "runbooks.md").read_text("utf-8")
    headings = {
        re.sub(r"[^a-z0-9]+", "-", line.lower()).strip("-") for line in re.findall(r"^## (.+)$", page, re.M)
    }
    named = set(re.findall(r"runbooks\.md#([a-z-]+)", render_rules(AlertSettings()))) | set(
        re.findall(r"\]\(#([a-z-]+)\)", page)
    )
    assert named - headings == set()
