"""Packages that a function asks for, from wheels in a folder: nothing here needs a network."""

import asyncio
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from basalt.functions import FunctionError
from basalt.functions.packages import Packages
from tests.functions.calling import call, error_of, logged
from tests.server import Server

pytestmark = pytest.mark.req("P9")


def write_wheel(folder: Path, name: str, version: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", text)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
async def packages(tmp_path: Path) -> AsyncIterator[Packages]:
    installer = Packages(tmp_path / "state", {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "SECRET": "x"})
    yield installer
    await installer.close()


def requirements(tmp_path: Path, *names: str) -> Path:
    file = tmp_path / "requirements.txt"
    file.write_text("\n".join(["--no-index", f"--find-links {tmp_path / 'wheels'}", *names]))
    return file


async def test_packages_are_installed_once_for_everybody(packages: Packages, tmp_path: Path) -> None:
    write_wheel(tmp_path / "wheels", "greetings_of_a_test", "1.0", "word = 'hello'\n")
    file = requirements(tmp_path, "greetings_of_a_test==1.0")
    assert packages.find(file) is None
    folders = await asyncio.gather(*(packages.ensure("one", file, timeout_s=60) for _ in range(3)))
    assert len(set(folders)) == 1
    assert (folders[0] / "greetings_of_a_test.py").read_text() == "word = 'hello'\n"
    assert packages.find(file) == folders[0]
    file.write_text(file.read_text() + "\n# changed")
    assert packages.find(file) is None


async def test_a_package_that_cannot_be_had_is_named(packages: Packages, tmp_path: Path) -> None:
    file = requirements(tmp_path, "not_to_be_had_anywhere")
    with pytest.raises(FunctionError, match="not_to_be_had_anywhere") as refused:
        await packages.ensure("one", file, timeout_s=60)
    assert (refused.value.code, refused.value.status) == ("BOOT_ERROR", 503)
    assert "find-links" in (refused.value.hint or "")
    assert not list((tmp_path / "state" / "packages").glob("*.new"))
    with pytest.raises(FunctionError, match=r"nowhere\.txt cannot be read"):
        await packages.ensure("one", tmp_path / "nowhere.txt", timeout_s=60)


async def test_who_cannot_wait_is_told_to_come_back(packages: Packages, tmp_path: Path) -> None:
    write_wheel(tmp_path / "wheels", "greetings_of_a_test", "1.0", "")
    file = requirements(tmp_path, "greetings_of_a_test")
    with pytest.raises(FunctionError, match="are being installed"):
        await packages.ensure("one", file, timeout_s=0.01)
    assert await packages.ensure("one", file, timeout_s=60)


def test_only_the_function_that_asked_sees_its_packages(server: Server) -> None:
    folder = server.project_dir / "supabase"
    write_wheel(folder / "wheels", "greetings_of_a_test", "1.0", "word = 'hello'\n")
    (folder / "packed.txt").write_text("--no-index\n--find-links wheels\ngreetings_of_a_test\n")
    answer: httpx2.Response = call(server, "packed", timeout=60)
    assert (answer.status_code, answer.json()) == (200, "hello")
    assert any(line["function"] == "packed" for line in logged(server, "function_packages_installed"))
    assert "greetings_of_a_test" in error_of(call(server, "unpacked"))["message"]
