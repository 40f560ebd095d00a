"""`process-image` over HTTP with the local preview: the document's nine steps, as the app's clients see them."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx2
import pytest
from PIL import Image, ImageChops
from supabase import Client

from tests.server import Server

from .conftest import CLIENT_WARNINGS, START_CREDITS, owner
from .pictures import FACE_AT, HAIR_AT, a_photo, a_portrait, to_bytes
from .studio import Sitter, a_sitter, code_of, fetch_image, signed_in

pytestmark = [*CLIENT_WARNINGS, pytest.mark.req("S4")]


@pytest.fixture
def sitter(sparky: Server) -> Iterator[Sitter]:
    with a_sitter(sparky) as somebody:
        yield somebody


@pytest.fixture(scope="module")
def other(sparky: Server) -> Iterator[Sitter]:
    """Somebody else, whose photos are none of the sitter's business."""
    with a_sitter(sparky) as somebody:
        yield somebody


@pytest.fixture(scope="module")
def name_of_theirs(other: Sitter) -> str:
    return other.upload().removeprefix(f"{other.id}/")


@pytest.fixture(scope="module")
def idle(sparky: Server) -> Iterator[Sitter]:
    """Somebody who asks only for what is refused; none of it may cost anything or leave anything."""
    with a_sitter(sparky) as somebody:
        yield somebody
        assert (somebody.credits(), somebody.files(), somebody.running()) == (START_CREDITS, [], 0)


@pytest.mark.req("S6")
def test_a_picture_is_made_and_paid_and_shown(sparky: Server, buyer: Client) -> None:
    sitter = signed_in(sparky, buyer)
    path = sitter.upload(to_bytes(a_portrait(), "JPEG"))
    made = sitter.client.functions.invoke(
        "process-image",
        {
            "body": {
                "toolId": "color",
                "toolParameters": {"saturation": -1},
                "originalImageStoragePath": path,
            },
            "responseType": "json",
        },
    )
    assert isinstance(made, dict)
    assert made["model"] == "local-preview"
    assert (made["cached"], made["credits_used"], made["credits_left"]) == (False, 1, START_CREDITS - 1)
    image = fetch_image(made["url"])
    assert image.size == (made["width"], made["height"]) == (300, 400)
    red, green, blue = image.convert("RGB").getpixel(FACE_AT)  # type: ignore[misc]
    assert max(red, green, blue) - min(red, green, blue) < 6
    assert sitter.credits() == START_CREDITS - 1
    (row,) = sitter.client.table("generations").select("*, credit_usage(credits)").execute().data
    assert (row["id"], row["result_path"], row["tool_id"]) == (made["generation_id"], made["path"], "color")
    assert (row["credits"], row["model"], row["source_path"]) == (1, "local-preview", path)
    assert row["parameters"]["saturation"] == -1
    assert sitter.files() == [made["path"]]
    assert made["path"].startswith(f"{sitter.id}/")


def test_the_same_request_again_is_a_hit_and_costs_nothing(sitter: Sitter) -> None:
    path = sitter.upload()
    first = sitter.make("enhance", path)
    for parameters in ({}, {"strength": 0.5}):
        again = sitter.make("enhance", path, **parameters)
        assert (again["cached"], again["credits_used"]) == (True, 0)
        assert (again["generation_id"], again["url"]) == (first["generation_id"], first["url"])
    assert sitter.credits() == START_CREDITS - 1
    assert len(sitter.gallery()) == len(sitter.files()) == 1


def test_the_same_picture_at_another_path_is_the_same_request(sitter: Sitter) -> None:
    first = sitter.make("enhance", sitter.upload(a_photo(7), "image/png"))
    second = sitter.make("enhance", f"user_uploads/{sitter.upload(a_photo(7), 'image/png')}")
    assert second["cached"]
    assert second["generation_id"] == first["generation_id"]


def test_another_tool_parameter_picture_or_user_is_another_run(sitter: Sitter, other: Sitter) -> None:
    path = sitter.upload(a_photo(9), "image/png")
    runs = [
        sitter.make("enhance", path),
        sitter.make("enhance", path, strength=0.6),
        sitter.make("color", path),
        sitter.make("enhance", sitter.upload(a_photo(11), "image/png")),
        other.make("enhance", other.upload(a_photo(9), "image/png")),
    ]
    assert not any(run["cached"] for run in runs)
    assert len({run["generation_id"] for run in runs}) == 5
    assert (sitter.credits(), other.credits()) == (START_CREDITS - 4, START_CREDITS - 1)


def test_a_remembered_result_is_forgotten_after_a_day(sitter: Sitter) -> None:
    path = sitter.upload()
    first = sitter.make("enhance", path)
    with owner(sitter.server) as admin:
        lasts = admin.execute(
            "select extract(epoch from expires_at - now())::int as s from cache.kv_store where user_id = %s",
            [sitter.id],
        ).fetchone()
        assert lasts is not None
        assert 86300 < lasts["s"] <= 86400
        admin.execute("update cache.kv_store set expires_at = now() where user_id = %s", [sitter.id])
    again = sitter.make("enhance", path)
    assert not again["cached"]
    assert again["generation_id"] != first["generation_id"]
    assert sitter.credits() == START_CREDITS - 2


@pytest.mark.req("S6")
def test_every_tool_of_the_preview_edits(sitter: Sitter) -> None:
    path, original = sitter.upload(to_bytes(a_portrait(), "PNG"), "image/png"), a_portrait()
    made = {
        tool: fetch_image(sitter.make(tool, path, **parameters)["url"])
        for tool, parameters in (
            ("enhance", {"strength": 1}),
            ("background_blur", {"radius": 30}),
            ("hair_color", {"color_id": "teal", "strength": 1}),
            ("upscale", {"factor": 2}),
        )
    }
    assert made["upscale"].size == (600, 800)
    for tool in ("enhance", "background_blur", "hair_color"):
        assert ImageChops.difference(made[tool], original).getbbox() is not None
    red, green, blue = made["hair_color"].getpixel(HAIR_AT)  # type: ignore[misc]
    assert min(green, blue) > red + 50
    assert made["hair_color"].getpixel(FACE_AT) == original.getpixel(FACE_AT)
    assert sitter.credits() == START_CREDITS - 1 - 1 - 2 - 2


@pytest.mark.req("S6")
def test_what_only_a_model_can_do_says_so_and_costs_nothing(idle: Sitter) -> None:
    answer = idle.ask("hairstyle", idle.upload(), hairstyle_id="bob")
    assert code_of(answer) == (501, "TOOL_NEEDS_MODEL")
    assert (idle.credits(), idle.files(), idle.running()) == (START_CREDITS, [], 0)


def test_the_result_stands_upright_and_says_nothing_of_its_camera(sitter: Sitter) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera of somebody"
    made = sitter.make("enhance", sitter.upload(to_bytes(a_portrait(), "JPEG", exif=exif)))
    assert (made["width"], made["height"], made["content_type"]) == (400, 300, "image/webp")
    answer = httpx2.get(made["url"], verify=False)
    assert answer.headers["content-type"] == "image/webp"
    assert b"Camera" not in answer.content
    with Image.open(BytesIO(answer.content)) as opened:
        assert not opened.getexif()


# Refusals: nothing is charged, nothing is stored


@pytest.mark.parametrize(
    ("tool", "parameters", "path"),
    [("enhance", {"strength": 2}, "toolParameters.strength"),
     ("enhance", {"strength": "much"}, "toolParameters.strength"),
     ("enhance", {"level": 1}, "toolParameters"), ("upscale", {"factor": 3}, "toolParameters.factor"),
     ("hair_color", {}, "toolParameters"), ("hair_color", {"color_id": "DROP TABLE"}, "toolParameters.color_id"),
     ("hair_color", {"color_id": "teal", "region": {"x": 2, "y": 0, "width": 1, "height": 1}},
      "toolParameters.region.x"), ("color", {"preset": "sepia"}, "toolParameters.preset")],
)  # fmt: skip
def test_parameters_are_what_the_tools_schema_says(
    idle: Sitter, tool: str, parameters: dict[str, Any], path: str
) -> None:
    answer = idle.ask(tool, f"{idle.id}/any.jpg", **parameters)
    assert code_of(answer) == (400, "VALIDATION_ERROR")
    assert answer.json()["error"]["details"][0]["path"] == path


@pytest.mark.parametrize(
    "path", ["{other}/photo.jpg", "{id}/../{other}/photo.jpg", "../{id}/photo.jpg", "/{id}/photo.jpg", "{id}",
             "{id}/", "{id}//photo.jpg", "generations/{id}/photo.jpg", "user_uploads/{other}/photo.jpg",
             "{id}/./photo.jpg", "{id}/%2e%2e/{other}/photo.jpg"]
)  # fmt: skip
@pytest.mark.req("S3")
def test_only_pictures_of_ones_own_folder_are_taken(
    idle: Sitter, other: Sitter, name_of_theirs: str, path: str
) -> None:
    asked = path.replace("photo.jpg", name_of_theirs).format(id=idle.id, other=other.id)
    answer = idle.ask("enhance", asked)
    assert code_of(answer) in [(403, "NOT_YOUR_FOLDER"), (404, "SOURCE_NOT_FOUND")]
    if "%" not in path:
        assert answer.status_code == 403


def test_a_request_that_cannot_be_served_is_told_why(idle: Sitter) -> None:
    path = idle.upload()
    assert code_of(idle.ask("enhance", f"{idle.id}/nothing.jpg")) == (404, "SOURCE_NOT_FOUND")
    assert code_of(idle.ask("levitate", path)) == (404, "TOOL_NOT_FOUND")
    assert code_of(idle.ask("skin_tone", path)) == (400, "WRONG_FUNCTION")
    assert code_of(idle.ask("hair_color", path, color_id="ultraviolet")) == (404, "COLOR_NOT_FOUND")
    assert code_of(idle.ask("hairstyle", path, hairstyle_id="beehive")) == (404, "HAIRSTYLE_NOT_FOUND")
    assert code_of(idle.call("process-image", {"toolId": "enhance"})) == (400, "VALIDATION_ERROR")
    with idle.server.client(idle.server.anon_key) as nobody:
        answer = nobody.post(
            "/functions/v1/process-image", json={"toolId": "enhance", "originalImageStoragePath": path}
        )
        assert code_of(answer) == (401, "UNAUTHORIZED")
        assert code_of(nobody.get("/functions/v1/process-image")) == (405, "METHOD_NOT_ALLOWED")
    assert (idle.credits(), idle.files(), idle.running()) == (START_CREDITS, [], 0)


def test_a_tool_or_colour_that_is_switched_off_is_not_used(idle: Sitter) -> None:
    path = idle.upload()
    with owner(idle.server) as admin:
        admin.execute("update public.tools set is_enabled = false where id = 'enhance'")
        admin.execute("update public.colors set is_enabled = false where id = 'teal'")
        try:
            assert code_of(idle.ask("enhance", path)) == (409, "TOOL_DISABLED")
            assert code_of(idle.ask("hair_color", path, color_id="teal")) == (404, "COLOR_NOT_FOUND")
        finally:
            admin.execute("update public.tools set is_enabled = true where id = 'enhance'")
            admin.execute("update public.colors set is_enabled = true where id = 'teal'")


def test_without_enough_credits_nothing_is_begun(sitter: Sitter) -> None:
    path = sitter.upload()
    sitter.set_credits(1)
    answer = sitter.ask("upscale", path)
    assert code_of(answer) == (402, "INSUFFICIENT_CREDITS")
    assert answer.json()["error"]["details"]["cost"] == 2
    assert (sitter.files(), sitter.running()) == ([], 0)
    assert sitter.make("enhance", path)["credits_left"] == 0
    assert sitter.make("enhance", path)["cached"]
    assert code_of(sitter.ask("enhance", path, strength=1)) == (402, "INSUFFICIENT_CREDITS")


@pytest.mark.parametrize(
    ("raw", "told"),
    [(b"<svg/>", (422, "INVALID_IMAGE")), (to_bytes(a_portrait(), "JPEG")[:3000], (422, "INVALID_IMAGE")),
     (to_bytes(Image.new("1", (8200, 20)), "PNG"), (413, "IMAGE_TOO_LARGE")),
     (to_bytes(Image.new("L", (7000, 7000)), "PNG"), (413, "IMAGE_TOO_LARGE"))],
    ids=["svg", "truncated", "wide", "bomb"],
)  # fmt: skip
def test_what_is_no_picture_or_a_bomb_costs_nothing(idle: Sitter, raw: bytes, told: tuple[int, str]) -> None:
    assert code_of(idle.ask("enhance", idle.upload(raw, "image/png"))) == told
    assert (idle.credits(), idle.files(), idle.running()) == (START_CREDITS, [], 0)


def test_a_result_that_would_be_too_large_costs_nothing(idle: Sitter) -> None:
    path = idle.upload(to_bytes(Image.new("RGB", (2100, 2100)), "PNG"), "image/png")
    assert code_of(idle.ask("upscale", path, factor=4)) == (413, "IMAGE_TOO_LARGE")
    assert (idle.credits(), idle.files()) == (START_CREDITS, [])
