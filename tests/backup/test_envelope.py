"""Sealed by age: who opens what, and that nothing is sent to S3 unsealed by accident."""

from pathlib import Path

import pyrage
import pytest
from pyrage import x25519

from basalt.config import BackupSettings, BackupStoreSettings
from basalt.project.backup import BackupError, Envelope
from basalt.project.backup.envelope import KEY_FILE, open_envelope
from basalt.project.backup.files import Shelf
from basalt.project.backup.target import FolderTarget, S3Target

pytestmark = pytest.mark.req("P26")


@pytest.fixture
def target(tmp_path: Path) -> FolderTarget:
    target = FolderTarget(tmp_path / "backups")
    target.open(may_write=True)
    return target


@pytest.mark.long
def test_a_passphrase_opens_what_it_sealed_and_another_one_does_not(target: FolderTarget) -> None:
    settings = BackupSettings(passphrase="correct horse")
    sealing = open_envelope(target, settings, may_write=True)
    entry = Shelf(target, sealing).put("keys/00000", b"the key of all keys")
    assert entry.name.endswith(".gz.age")
    assert b"the key of all keys" not in (target.get(entry.name) or b"")
    opening = open_envelope(target, settings, may_write=False)
    assert Shelf(target, opening).read(entry.name) == b"the key of all keys"
    with pytest.raises(BackupError, match="does not open") as refusal:
        open_envelope(target, BackupSettings(passphrase="wrong"), may_write=False)
    assert refusal.value.code == "backup_passphrase_wrong"
    assert "wrong" not in refusal.value.message.replace("backup_passphrase_wrong", "")


def test_a_recipient_opens_with_a_key_that_the_server_never_had(target: FolderTarget, tmp_path: Path) -> None:
    identity = x25519.Identity.generate()
    settings = BackupSettings(recipients=(str(identity.to_public()),))
    shelf = Shelf(target, open_envelope(target, settings, may_write=True))
    entry = shelf.put("keys/00000", b"content")
    assert target.get(KEY_FILE) is None
    with pytest.raises(BackupError) as refusal:
        shelf.read(entry.name)
    assert refusal.value.code == "backup_sealed"
    key_file = tmp_path / "key.txt"
    key_file.write_text(f"# created: 2026-11-26\n{identity}\n")
    opening = open_envelope(target, BackupSettings(), identity_file=key_file, may_write=False)
    assert Shelf(target, opening).read(entry.name) == b"content"
    assert pyrage.decrypt(target.get(entry.name), [identity])  # as age's own tools do


def test_nothing_goes_to_s3_unsealed_unless_told() -> None:
    store = BackupStoreSettings(endpoint="http://127.0.0.1:1", access_key_id="a", secret_access_key="b")
    target = S3Target("s3://bucket/prefix", BackupSettings(s3=store))
    with pytest.raises(BackupError) as refusal:
        open_envelope(target, BackupSettings(), may_write=True)
    assert refusal.value.code == "backup_unsealed"
    assert not open_envelope(target, BackupSettings(plain=True), may_write=True).is_sealing


def test_a_key_that_is_none_is_said(target: FolderTarget, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="not a key of age"):
        open_envelope(target, BackupSettings(recipients=("age1nonsense",)), may_write=True)
    (tmp_path / "key.txt").write_text("AGE-SECRET-KEY-NONE")
    with pytest.raises(BackupError, match="not a key of age"):
        open_envelope(target, BackupSettings(), identity_file=tmp_path / "key.txt", may_write=False)


def test_one_changed_byte_is_found(target: FolderTarget) -> None:
    shelf = Shelf(target, Envelope([], [], target.place))
    entry = shelf.put("base/00000", b"x" * 1000)
    stored = bytearray(target.get(entry.name) or b"")
    stored[30] ^= 1
    target.put(entry.name, bytes(stored))
    with pytest.raises(BackupError, match="its checksum differs"):
        shelf.read(entry.name)
    target.delete([entry.name])
    with pytest.raises(BackupError, match="it is missing"):
        shelf.read(entry.name)
