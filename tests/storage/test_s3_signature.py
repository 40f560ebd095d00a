"""Signatures of the S3 protocol against the examples that Amazon publishes, and bodies in chunks."""

import hashlib
from collections.abc import Iterable

import pytest

from basalt.http import Headers
from basalt.storage.errors import StorageError
from basalt.storage.s3.chunks import ChunkDecoder
from basalt.storage.s3.signature import (
    ChunkSigner,
    build_canonical_request,
    build_string_to_sign,
    derive_key,
    parse_credential,
    sign,
)

EMPTY = hashlib.sha256(b"").hexdigest()

# S3 API reference, "Authenticating Requests: Using the Authorization Header" and "… Using Query Parameters".
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
CREDENTIAL = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"
TIME = "20130524T000000Z"
HOST = "examplebucket.s3.amazonaws.com"
EXAMPLES = {
    "get a range of an object": (
        "GET",
        "/test.txt",
        [],
        {"host": HOST, "range": "bytes=0-9", "x-amz-content-sha256": EMPTY, "x-amz-date": TIME},
        EMPTY,
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    "put an object": (
        "PUT",
        "/test%24file.text",
        [],
        {
            "date": "Fri, 24 May 2013 00:00:00 GMT",
            "host": HOST,
            "x-amz-content-sha256": "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
            "x-amz-date": TIME,
            "x-amz-storage-class": "REDUCED_REDUNDANCY",
        },
        "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ),
    "a parameter without a value": (
        "GET",
        "/",
        [("lifecycle", "")],
        {"host": HOST, "x-amz-content-sha256": EMPTY, "x-amz-date": TIME},
        EMPTY,
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    "a list": (
        "GET",
        "/",
        [("prefix", "J"), ("max-keys", "2")],
        {"host": HOST, "x-amz-content-sha256": EMPTY, "x-amz-date": TIME},
        EMPTY,
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
    "a presigned URL": (
        "GET",
        "/test.txt",
        [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", CREDENTIAL),
            ("X-Amz-Date", TIME),
            ("X-Amz-Expires", "86400"),
            ("X-Amz-SignedHeaders", "host"),
        ],
        {"host": HOST},
        "UNSIGNED-PAYLOAD",
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
    ),
    "a body in chunks": (
        "PUT",
        "/examplebucket/chunkObject.txt",
        [],
        {
            "content-encoding": "aws-chunked",
            "content-length": "66824",
            "host": "s3.amazonaws.com",
            "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            "x-amz-date": TIME,
            "x-amz-decoded-content-length": "66560",
            "x-amz-storage-class": "REDUCED_REDUNDANCY",
        },
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    ),
}


@pytest.mark.req("P8")
@pytest.mark.parametrize("name", EXAMPLES)
def test_amazons_examples_get_the_signature_that_amazon_gives(name: str) -> None:
    method, path, query, headers, payload_hash, signature = EXAMPLES[name]
    sent = Headers([(key.encode(), value.encode()) for key, value in headers.items()])
    canonical = build_canonical_request(method, path, query, sent, list(headers), payload_hash)
    assert sign(example_key(), build_string_to_sign(TIME, scope(), canonical)) == signature


# The test suite of Signature Version 4 (`aws4_testsuite`), for the service "service".
SUITE_SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SUITE_TIME = "20150830T123600Z"
SUITE = {
    "get-vanilla": (
        "GET",
        [],
        [],
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "get-vanilla-query-order-key-case": (
        "GET",
        [("Param2", "value2"), ("Param1", "value1")],
        [],
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "post-vanilla": (
        "POST",
        [],
        [],
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "get-header-value-trim": (
        "GET",
        [],
        [("my-header1", " value1"), ("my-header2", ' "a   b   c"')],
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "get-header-value-order": (
        "GET",
        [],
        [
            ("my-header1", "value4"),
            ("my-header1", "value1"),
            ("my-header1", "value3"),
            ("my-header1", "value2"),
        ],
        "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
    ),
}


@pytest.mark.req("P8")
@pytest.mark.parametrize("name", SUITE)
def test_the_suite_of_signature_version_4_passes(name: str) -> None:
    method, query, more, signature = SUITE[name]
    headers = [("host", "example.amazonaws.com"), *more, ("x-amz-date", SUITE_TIME)]
    sent = Headers([(key.encode(), value.encode()) for key, value in headers])
    names = sorted({key for key, _ in headers})
    canonical = build_canonical_request(method, "/", query, sent, names, EMPTY)
    key = derive_key(SUITE_SECRET, "20150830", "us-east-1", "service")
    text = build_string_to_sign(SUITE_TIME, "20150830/us-east-1/service/aws4_request", canonical)
    assert sign(key, text) == signature


def example_key() -> bytes:
    credential = parse_credential(CREDENTIAL)
    return derive_key(SECRET, credential.date, credential.region, credential.service)


def scope() -> str:
    return parse_credential(CREDENTIAL).scope


# "Signature Calculations: Transferring Payload in Multiple Chunks" of the same reference.
CHUNKS = b"".join(
    (
        b"10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n",
        b"a" * 65536,
        b"\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n",
        b"a" * 1024,
        b"\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n",
    )
)
SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
# "… with trailing headers".
TRAILED = b"".join(
    (
        b"10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n",
        b"a" * 65536,
        b"\r\n400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n",
        b"a" * 1024,
        b"\r\n0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n",
        b"x-amz-checksum-crc32c:sOO8/Q==\n\r\n",
        b"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n",
    )
)
TRAILED_SEED = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"


def signer(seed: str = SEED) -> ChunkSigner:
    return ChunkSigner(example_key(), TIME, scope(), seed)


def decode(decoder: ChunkDecoder, pieces: Iterable[bytes]) -> bytes:
    content = b"".join(part for piece in pieces for part in decoder.feed(piece))
    decoder.finish()
    return content


@pytest.mark.req("P8")
@pytest.mark.parametrize("size", [1, 7, 1000, 65536, 10**6])
def test_a_body_in_chunks_is_decoded_however_it_arrives(size: int) -> None:
    pieces = (CHUNKS[start : start + size] for start in range(0, len(CHUNKS), size))
    assert decode(ChunkDecoder(signer(), None), pieces) == b"a" * 66560


@pytest.mark.req("P8")
@pytest.mark.parametrize("size", [1, 10**6])
def test_amazons_example_of_a_signed_trailer_is_taken(size: int) -> None:
    decoder = ChunkDecoder(signer(TRAILED_SEED), ["x-amz-checksum-crc32c"])
    pieces = (TRAILED[start : start + size] for start in range(0, len(TRAILED), size))
    assert decode(decoder, pieces) == b"a" * 66560
    assert decoder.trailers == {"x-amz-checksum-crc32c": "sOO8/Q=="}


BROKEN = {
    "a byte changed": (CHUNKS.replace(b"aaaa", b"aaab", 1), "SignatureDoesNotMatch"),
    "a signature changed": (CHUNKS.replace(b"=ad80", b"=ad81"), "SignatureDoesNotMatch"),
    "a chunk left out": (CHUNKS[CHUNKS.index(b"400;") :], "SignatureDoesNotMatch"),
    "no last chunk": (CHUNKS[: CHUNKS.index(b"\r\n0;") + 2], "IncompleteBody"),
    "cut off in a chunk": (CHUNKS[:1000], "IncompleteBody"),
    "cut off before the last line end": (CHUNKS[:-2], "IncompleteBody"),
    "something behind the end": (CHUNKS + b"x", "InvalidRequest"),
    "a chunk longer than it says": (CHUNKS.replace(b"\r\n400;", b"a\r\n400;"), "InvalidRequest"),
    "a chunk that is not signed": (b"5\r\nhello\r\n0\r\n\r\n", "InvalidRequest"),
    "a size that is no number": (b"-5;chunk-signature=" + b"0" * 64 + b"\r\n", "InvalidRequest"),
    "a head without an end": (b"0" * 300, "InvalidRequest"),
    "a chunk that is too large": (b"800001;chunk-signature=" + b"0" * 64 + b"\r\n", "EntityTooLarge"),
    "nothing": (b"", "IncompleteBody"),
}


@pytest.mark.req("P8")
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_body_in_chunks_is_refused(name: str) -> None:
    body, code = BROKEN[name]
    with pytest.raises(StorageError) as refused:
        decode(ChunkDecoder(signer(), None), [body])
    assert refused.value.code == code


BROKEN_TRAILERS = {
    "no trailer": (b"5\r\nhello\r\n0\r\n\r\n", "IncompleteBody"),
    "nothing after the last chunk": (b"5\r\nhello\r\n0\r\n", "IncompleteBody"),
    "another trailer": (b"5\r\nhello\r\n0\r\nx-amz-checksum-sha1:x\r\n\r\n", "InvalidRequest"),
    "no colon": (b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32\r\n\r\n", "InvalidRequest"),
    "twice": (b"0\r\nx-amz-checksum-crc32:x\r\nx-amz-checksum-crc32:y\r\n\r\n", "InvalidRequest"),
    "without an end": (b"0\r\n" + b"x" * 10_000, "InvalidRequest"),
    "a signed chunk where none is": (b"0;chunk-signature=" + b"0" * 64 + b"\r\n\r\n", "InvalidRequest"),
}


@pytest.mark.req("P8")
@pytest.mark.parametrize("name", BROKEN_TRAILERS)
def test_a_broken_trailer_is_refused(name: str) -> None:
    body, code = BROKEN_TRAILERS[name]
    with pytest.raises(StorageError) as refused:
        decode(ChunkDecoder(None, ["x-amz-checksum-crc32"]), [body])
    assert refused.value.code == code


@pytest.mark.req("P8")
@pytest.mark.parametrize(
    ("old", "new"),
    [(b"sOO8", b"sOO9"), (b"=2ca2", b"=2ca3"), (b":d81f", b":d81e"), (b"x-amz-trailer-s", b"y-s")],
)
def test_an_edited_trailer_is_refused(old: bytes, new: bytes) -> None:
    decoder = ChunkDecoder(signer(TRAILED_SEED), ["x-amz-checksum-crc32c"])
    with pytest.raises(StorageError, match="signature"):
        decode(decoder, [TRAILED.replace(old, new)])
