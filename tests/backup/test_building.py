"""A state folder beside the project's: it goes at the end, and so does what a killed process has left."""

import fcntl
import os
import time
from pathlib import Path

import pytest

from basalt.config import Settings
from basalt.project.backup.building import YOUNG_S, building_beside
from tests.projects import settings_of, write_project

pytestmark = pytest.mark.req("P26")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(write_project(tmp_path / "project", {}))


def test_it_is_removed_unless_it_takes_the_place_of_the_projects(settings: Settings) -> None:
    with building_beside(settings, "rehearsal") as building:
        assert building.state_dir.stat().st_mode & 0o077 == 0
    assert not building.state_dir.exists()
    with building_beside(settings, "restoring") as building:
        (building.state_dir / "keys.json").touch()
        building.state_dir.rename(settings.state_dir)
    assert (settings.state_dir / "keys.json").exists()


def test_what_a_killed_one_has_left_goes_and_what_is_in_use_stays(settings: Settings) -> None:
    names = ("restoring-killed", "rehearsal-killed", "rehearsal-used", "restoring-young", "before-2026")
    left = {name: settings.state_dir.with_name(f"{settings.state_dir.name}.{name}") for name in names}
    for name, folder in left.items():
        (folder / "postgres" / "data").mkdir(parents=True)
        if not name.endswith("young"):
            os.utime(folder, (time.time() - 2 * YOUNG_S,) * 2)
    lock = os.open(left["rehearsal-used"], os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with building_beside(settings, "rehearsal"):
        pass
    os.close(lock)
    assert {name for name, folder in left.items() if folder.exists()} == {
        "rehearsal-used",
        "restoring-young",
        "before-2026",
    }
