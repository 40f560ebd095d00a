"""A new project, and the next migration."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from basalt.config import load_settings
from basalt.errors import BasaltError
from basalt.project import create_project, new_migration

pytestmark = [pytest.mark.req("P1", "P19")]

NOON = datetime(2026, 1, 31, 12, 0, 59, tzinfo=UTC)


def test_a_new_project_has_what_a_start_needs(tmp_path: Path) -> None:
    created = create_project(tmp_path / "shop", "My shop!")

    assert sorted(path.relative_to(tmp_path / "shop").as_posix() for path in created) == [
        ".gitignore",
        "supabase/config.toml",
        "supabase/functions/hello/index.py",
        "supabase/seed.sql",
    ]
    assert (tmp_path / "shop/supabase/migrations").is_dir()
    assert ".basalt/" in (tmp_path / "shop/.gitignore").read_text()
    settings = load_settings(tmp_path / "shop", {})
    assert settings.project_id == "My-shop"
    assert settings.unknown_keys == ()
    assert settings.functions["hello"].verify_jwt is False


def test_the_first_function_is_python(tmp_path: Path) -> None:
    create_project(tmp_path, "shop")

    source = (tmp_path / "supabase/functions/hello/index.py").read_text()

    assert "async def handler(request" in source
    compile(source, "index.py", "exec")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "supabase").mkdir()
    (tmp_path / "supabase/seed.sql").write_text("mine")

    with pytest.raises(BasaltError, match=r"seed\.sql exists already") as caught:
        create_project(tmp_path, "shop")

    assert caught.value.code == "project_exists"
    assert (tmp_path / "supabase/seed.sql").read_text() == "mine"
    assert not (tmp_path / "supabase/config.toml").exists()


def test_an_existing_gitignore_is_kept(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("node_modules/\n")

    create_project(tmp_path, "shop")

    assert (tmp_path / ".gitignore").read_text() == "node_modules/\n"


def test_a_folder_that_cannot_be_written_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(BasaltError, match="Not a directory"):
        create_project(tmp_path / "file" / "shop", "shop")


def test_a_new_migration_is_named_by_time_and_title(tmp_path: Path) -> None:
    path = new_migration(tmp_path, "Add gigs & users: naïve", now=NOON)

    assert path == tmp_path / "supabase/migrations/20260131120059_add_gigs_users_na_ve.sql"
    assert path.read_text() == ""


def test_two_migrations_of_one_second_get_two_versions(tmp_path: Path) -> None:
    paths = [new_migration(tmp_path, title, now=NOON) for title in ("one", "two", "three")]

    versions = [path.name.split("_")[0] for path in paths]

    assert versions == ["20260131120059", "20260131120100", "20260131120101"]


def test_a_title_needs_a_letter(tmp_path: Path) -> None:
    with pytest.raises(BasaltError, match="at least one letter"):
        new_migration(tmp_path, " ../ ")
