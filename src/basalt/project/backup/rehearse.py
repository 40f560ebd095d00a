"""`basalt backup rehearse`: a restore into a folder of its own, compared with what the backup says, and removed.

The database recovers to the exact position at which the tables were read for the backup, so that rows and checksums
must be the same, and every object is read from the target.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import psycopg

from basalt.config import Settings
from basalt.postgres import PrivateCluster
from basalt.postgres.backup import TableDigest, digest_database, list_objects
from basalt.project.backup.building import building_beside
from basalt.project.backup.errors import BackupError
from basalt.project.backup.files import Shelf
from basalt.project.backup.logical import load_dump
from basalt.project.backup.manifest import Contents, Manifest, TableEntry, read_contents
from basalt.project.backup.objects import list_object_files
from basalt.project.backup.progress import Progress, Tell
from basalt.project.backup.restore import RestoreRequest, plan_restore, recovering
from basalt.project.backup.unpack import unpack_cluster

HOST: Final = "127.0.0.1"


@dataclass
class Rehearsal:
    """`tables_compared` is 0 where the backup has no table digests."""

    manifest: Manifest
    tables_compared: int = 0
    rows: int = 0
    objects: int = 0
    problems: list[str] = field(default_factory=list)


def rehearse_backup(settings: Settings, shelf: Shelf, manifest: Manifest, tell: Tell) -> Rehearsal:
    """Leaves nothing behind. Raises BackupError and RecoveryError where it comes to no database at all."""
    contents = read_contents(shelf, manifest)
    report = Rehearsal(manifest)
    with building_beside(settings, "rehearsal") as building:
        rehearsing = _rehearse_dump if manifest.log is None else _rehearse_copy
        with rehearsing(building, shelf, manifest, tell) as conninfo:
            tell("Comparing the tables")
            compare_database(conninfo, contents, report)
    read_objects(shelf, manifest, contents, report, tell)
    return report


@contextmanager
def _rehearse_copy(building: Settings, shelf: Shelf, manifest: Manifest, tell: Tell) -> Iterator[str]:
    assert manifest.log is not None
    request = RestoreRequest(to="backup")
    plan = plan_restore(shelf, manifest, request)
    unpacked = unpack_cluster(building, shelf, manifest, tell)
    with recovering(shelf, manifest.log, plan, unpacked, request, tell) as conninfo:
        yield conninfo


@contextmanager
def _rehearse_dump(building: Settings, shelf: Shelf, manifest: Manifest, tell: Tell) -> Iterator[str]:
    """Into a private cluster of its own."""
    cluster = PrivateCluster(building.state_dir, port=_free_port())
    try:
        yield load_dump(cluster, shelf, manifest, tell).conninfo("supabase_admin")
    finally:
        cluster.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def compare_database(conninfo: str, contents: Contents, report: Rehearsal) -> None:
    """Without an exact snapshot the backup does not say what there was at the position that was recovered."""
    if contents.tables is None:
        return
    with psycopg.connect(conninfo) as connection:
        if sorted(list_objects(connection)) != sorted(contents.objects):
            report.problems.append("The objects that rows name are not those of the backup")
    has_checksums = any(table.checksum is not None for table in contents.tables)
    found = {table.name: table for table in digest_database(conninfo, checksums=has_checksums)}
    for table in contents.tables:
        report.tables_compared += 1
        report.rows += table.rows
        if problem := compare_table(table, found.pop(table.name, None)):
            report.problems.append(problem)
    report.problems += [f"{name} is not in the backup" for name in found]


def compare_table(expected: TableEntry, found: TableDigest | None) -> str | None:
    """
    >>> compare_table(TableEntry("public.a", 2, "7"), TableDigest("public.a", 3, "9"))
    'public.a has 3 rows instead of 2'
    """
    if found is None:
        return f"{expected.name} is missing"
    if found.rows != expected.rows:
        return f"{expected.name} has {found.rows} rows instead of {expected.rows}"
    if found.checksum != expected.checksum:
        return f"{expected.name} has other rows than it had"
    return None


def read_objects(shelf: Shelf, manifest: Manifest, contents: Contents, report: Rehearsal, tell: Tell) -> None:
    there = list_object_files(shelf)
    progress = Progress(tell, "Objects", total=manifest.object_bytes)
    absent = 0
    for version, _ in contents.objects:
        files = there.get(version)
        if files is None or files.missing:
            absent += 1
            continue
        try:
            size = sum(len(shelf.read(name)) for name in files.chunks.values())
        except BackupError as error:
            report.problems.append(error.message)
            continue
        if size != files.size:
            report.problems.append(f"Object {version} has {size} bytes instead of {files.size}")
        report.objects += 1
        progress.add(size)
    progress.end()
    if absent > manifest.missing_objects:
        report.problems.append(f"{absent} objects are missing or incomplete")
