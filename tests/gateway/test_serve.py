"""A gateway process that cannot begin says why in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.req("P16")


def test_settings_that_cannot_be_end_the_process_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "supabase").mkdir()
    (tmp_path / "supabase" / "config.toml").write_text(
        '[db]\nurl = "postgresql://owner:secret@127.0.0.1:1/postgres"\n'
        '[basalt]\nlog_format = "json"\n[basalt.rate_limit]\nstore = "redis"\nurl = "http://counts"\n'
    )
    ended = subprocess.run(
        [sys.executable, "-m", "basalt.gateway", str(tmp_path)],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    said = json.loads(line)
    assert said["event"] == "gateway_not_started"
    assert said["reason"].startswith("basalt.rate_limit.url cannot be used: ")
