"""What stands in the way of an upgrade is said before anything is changed."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from basalt.postgres import ClusterError, PrivateCluster
from basalt.postgres.upgrade import UpgradeError, plan_upgrade, undo_upgrade
from tests.ports import free_port
from tests.prepared import copy_prepared_state

pytestmark = pytest.mark.req("P26")


@pytest.fixture
def project() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="basalt-upgrade-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_without_a_later_version_the_package_is_named(project: Path) -> None:
    state_dir = project / ".basalt"
    copy_prepared_state(state_dir)
    with pytest.raises(UpgradeError, match="PostgreSQL 99 is not installed here") as refusal:
        plan_upgrade(state_dir, to=99, method=None, tell=lambda _: None)
    assert refusal.value.hint == "apt-get install postgresql-99"


def test_a_project_without_a_cluster_has_nothing_to_upgrade(project: Path) -> None:
    with pytest.raises(UpgradeError, match="no private cluster yet"):
        plan_upgrade(project / ".basalt", to=None, method=None, tell=lambda _: None)


def test_data_of_a_version_that_is_not_installed_names_the_upgrade(project: Path) -> None:
    state_dir = project / ".basalt"
    copy_prepared_state(state_dir)
    cluster = PrivateCluster(state_dir, port=free_port(), fsync=False)
    (cluster.data_dir / "PG_VERSION").write_text("14\n")
    with pytest.raises(ClusterError, match="`basalt upgrade` then moves the data"):
        cluster.ensure()


def test_an_upgrade_that_was_killed_between_two_steps_is_told_and_undone(project: Path) -> None:
    """A start would make an empty database where the old one has just been moved aside."""
    state_dir = project / ".basalt"
    copy_prepared_state(state_dir)
    cluster = PrivateCluster(state_dir, port=free_port(), fsync=False)
    version = (cluster.data_dir / "PG_VERSION").read_text().strip()
    cluster.data_dir.rename(cluster.home / f"data.pg{version}")
    with pytest.raises(ClusterError, match="`basalt upgrade --undo` brings back"):
        cluster.ensure()
    assert undo_upgrade(state_dir) == (int(version), None)
    assert (cluster.data_dir / "PG_VERSION").is_file()
