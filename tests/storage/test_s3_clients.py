"""The S3 protocol as other clients speak it: the AWS command line, MinIO's, and the object_store of Rust."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import obstore
import pytest
import urllib3
from botocore.credentials import Credentials
from minio import Minio
from minio.commonconfig import CopySource
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from obstore.store import S3Store

from tests.server import Server
from tests.storage.conftest import MakeBucket, token_of
from tests.storage.s3 import BASE, service_credentials, user_credentials


def aws(server: Server, credentials: Credentials, *arguments: str) -> str:
    """What the command prints."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(server.project_dir),
        "AWS_ACCESS_KEY_ID": str(credentials.access_key),
        "AWS_SECRET_ACCESS_KEY": str(credentials.secret_key),
        "AWS_SESSION_TOKEN": str(credentials.token),
        "AWS_DEFAULT_REGION": "local",
    }
    command = [
        str(Path(sys.executable).with_name("aws")),
        "--endpoint-url",
        f"{server.url}{BASE}",
        *arguments,
    ]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.req("P8")
def test_the_command_line_works_for_a_user(depot: Server, make_bucket: MakeBucket, tmp_path: Path) -> None:
    user = "5a1e2b52-5d4b-4f4c-9a43-3c9fd9a1b6d3"
    credentials = user_credentials(depot, token_of(depot, user))
    folder = f"s3://{make_bucket('own')}/{user}"
    source, back = tmp_path / "source", tmp_path / "back"
    (source / "deep er").mkdir(parents=True)
    (source / "a.txt").write_text("a")
    (source / "deep er" / "b+c.txt").write_text("b")
    (source / "large").write_bytes(b"0123456789" * 900_000)  # comes in parts
    aws(depot, credentials, "s3", "sync", str(source), folder, "--quiet")
    listed = aws(depot, credentials, "s3", "ls", f"{folder}/")
    assert [line[31:] for line in listed.splitlines()] == ["deep er/", "a.txt", "large"]
    aws(depot, credentials, "s3", "cp", folder, str(back), "--recursive", "--quiet")
    assert contents(back) == contents(source)
    gone = aws(depot, credentials, "s3", "rm", folder, "--recursive")
    assert len(gone.splitlines()) == 3


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@contextmanager
def minio_client(server: Server) -> Iterator[Minio]:
    """MinIO's client takes no path in its endpoint; here it does."""
    credentials = service_credentials(server)
    with urllib3.PoolManager(timeout=30, retries=False) as pool:
        client = Minio(
            urlsplit(server.url).netloc,
            credentials.access_key,
            credentials.secret_key,
            secure=False,
            region="local",
            http_client=pool,
        )
        build = client._base_url.build
        client._base_url.build = lambda *given, **named: below_path(build(*given, **named))
        yield client


def below_path(url: SplitResult) -> SplitResult:
    return url._replace(path=BASE + url.path)


@pytest.mark.req("P8")
def test_the_client_of_minio_works(depot: Server, make_bucket: MakeBucket) -> None:
    bucket = make_bucket()
    with minio_client(depot) as client:
        assert client.bucket_exists(bucket)
        assert not client.bucket_exists("nosuch")
        assert bucket in [found.name for found in client.list_buckets()]
        client.put_object(bucket, "a b/c", io.BytesIO(b"hello"), 5, metadata={"color": "blue"})
        # Its length unknown, in parts
        client.put_object(bucket, "large", io.BytesIO(b"x" * (6 << 20)), -1, part_size=5 << 20)
        assert client.stat_object(bucket, "a b/c").metadata["x-amz-meta-color"] == "blue"
        assert client.stat_object(bucket, "large").size == 6 << 20
        with closing(client.get_object(bucket, "a b/c", offset=1, length=3)) as response:
            assert response.read() == b"ell"
        client.copy_object(bucket, "copy", CopySource(bucket, "a b/c"))
        listed = [(found.object_name, found.is_dir) for found in client.list_objects(bucket)]
        assert listed == [("copy", False), ("large", False), ("a b/", True)]
        assert [
            found.object_name for found in client.list_objects(bucket, recursive=True, use_api_v1=True)
        ] == [
            "a b/c",
            "copy",
            "large",
        ]
        with pytest.raises(S3Error) as refused:
            client.stat_object(bucket, "none")
        assert refused.value.code == "NoSuchKey"
        with pytest.raises(S3Error) as refused:
            client.get_object(bucket, "none")
        assert (refused.value.code, refused.value.message) == ("NoSuchKey", "Object not found")
        keys = [DeleteObject(key) for key in ("a b/c", "copy", "large", "none")]
        assert list(client.remove_objects(bucket, keys)) == []
        client.remove_bucket(bucket)


@pytest.mark.req("P8")
def test_the_object_store_library_of_rust_works_for_the_project(
    depot: Server, make_bucket: MakeBucket
) -> None:
    """Through `obstore`, with nothing of it changed: whole and in parts, ranges, lists, copies, deletes."""
    keys = service_credentials(depot)
    client = S3Store(
        make_bucket(),
        config={
            "endpoint": f"{depot.url}/storage/v1/s3",
            "access_key_id": str(keys.access_key),
            "secret_access_key": str(keys.secret_key),
            "region": "local",
        },
        client_options={"allow_http": True},
    )
    large = bytes(range(256)) * 50_000
    obstore.put(client, "dir/small.txt", b"hello world")
    obstore.put(client, "dir/large", large, chunk_size=5 * 1024 * 1024)
    assert bytes(obstore.get(client, "dir/large").bytes()) == large
    assert bytes(obstore.get_range(client, "dir/small.txt", start=6, end=11)) == b"world"
    obstore.copy(client, "dir/small.txt", "copy.txt")
    assert obstore.head(client, "copy.txt")["size"] == 11
    assert [meta["path"] for page in obstore.list(client) for meta in page] == [
        "copy.txt",
        "dir/large",
        "dir/small.txt",
    ]
    assert obstore.list_with_delimiter(client)["common_prefixes"] == ["dir"]
    obstore.delete(client, ["copy.txt", "dir/large"])
    assert [meta["path"] for page in obstore.list(client) for meta in page] == ["dir/small.txt"]
