"""`analyze-face` over HTTP with the local preview: as `process-image`, and JSON comes out."""

from collections.abc import Iterator

import pytest
from PIL import Image
from supabase import Client

from tests.server import Server

from .conftest import CLIENT_WARNINGS, START_CREDITS
from .pictures import SKIN, a_portrait, to_bytes
from .studio import Sitter, a_sitter, code_of, signed_in, succeeded

pytestmark = [*CLIENT_WARNINGS, pytest.mark.req("S5")]


@pytest.fixture(scope="module")
def sitter(sparky: Server) -> Iterator[Sitter]:
    with a_sitter(sparky) as somebody:
        yield somebody


def test_skin_tones_are_told_and_paid_once(sparky: Server, buyer: Client) -> None:
    sitter = signed_in(sparky, buyer)
    path = sitter.upload(to_bytes(a_portrait(), "PNG"), "image/png")
    told = buyer.functions.invoke(
        "analyze-face",
        {
            "body": {"toolId": "skin_tone", "toolParameters": {}, "originalImageStoragePath": path},
            "responseType": "json",
        },
    )
    assert isinstance(told, dict)
    analysis = told["analysis"]
    main = bytes.fromhex(analysis["palette"][0]["hex"][1:])
    assert all(abs(seen - true) <= 4 for seen, true in zip(main, SKIN, strict=True))
    offered = {row["id"] for row in buyer.table("colors").select("id").execute().data}
    assert analysis["suitable_colors"]
    assert set(analysis["suitable_colors"]) <= offered
    assert (told["model"], told["cached"], told["credits_used"]) == ("local-preview", False, 1)
    assert "url" not in told
    again = sitter.analyse("skin_tone", path, palette_size=5)
    assert (again["cached"], again["credits_used"], again["analysis"]) == (True, 0, analysis)
    assert sitter.credits() == START_CREDITS - 1
    (row,) = buyer.table("generations").select("*").execute().data
    assert (row["result"]["analysis"], row["result_path"]) == (analysis, None)
    assert sitter.files() == []


def test_no_face_is_claimed_by_the_preview(sitter: Sitter) -> None:
    analysis = sitter.analyse("face_analysis", sitter.upload())["analysis"]
    assert analysis["face"] is None
    assert "does not look for faces" in analysis["face_note"]
    assert (analysis["width"], analysis["height"]) == (300, 400)


def test_the_quality_of_a_photo_is_measured_as_it_stands(sitter: Sitter) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    path = sitter.upload(to_bytes(a_portrait(), "JPEG", exif=exif))
    analysis = sitter.analyse("photo_quality", path)["analysis"]
    assert (analysis["width"], analysis["height"], analysis["orientation"]) == (400, 300, "landscape")
    assert 0.3 < analysis["brightness"] < 0.7


def test_what_cannot_be_analysed_costs_nothing(sitter: Sitter) -> None:
    before = sitter.credits()
    wall = sitter.upload(to_bytes(Image.new("RGB", (200, 200), (40, 90, 200)), "PNG"), "image/png")
    assert code_of(sitter.ask("skin_tone", wall, "analyze-face")) == (422, "NO_SKIN_FOUND")
    assert code_of(sitter.ask("enhance", wall, "analyze-face")) == (400, "WRONG_FUNCTION")
    broken = sitter.upload(b"no picture", "image/png")
    assert code_of(sitter.ask("photo_quality", broken, "analyze-face")) == (422, "INVALID_IMAGE")
    answer = sitter.ask("skin_tone", wall, "analyze-face", palette_size=9)
    assert code_of(answer) == (400, "VALIDATION_ERROR")
    assert (sitter.credits(), sitter.running()) == (before, 0)


def test_a_nobody_is_told_nothing(sitter: Sitter) -> None:
    with sitter.server.client(sitter.server.anon_key) as nobody:
        body = {"toolId": "skin_tone", "originalImageStoragePath": f"{sitter.id}/a.jpg"}
        assert code_of(nobody.post("/functions/v1/analyze-face", json=body)) == (401, "UNAUTHORIZED")


def test_a_tool_of_the_operator_needs_a_model(sitter: Sitter, service: Client) -> None:
    service.table("tools").insert(
        {"id": "palm_reading", "name": "Palm reading", "kind": "analysis"}
    ).execute()
    answer = sitter.ask("palm_reading", sitter.upload(), "analyze-face")
    assert code_of(answer) == (501, "TOOL_NEEDS_MODEL")
    body = {"toolId": "photo_quality", "originalImageStoragePath": sitter.upload()}
    assert succeeded(sitter.call("analyze-face", body))["analysis"]["megapixels"] == 0.12
