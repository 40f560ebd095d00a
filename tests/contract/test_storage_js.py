"""Storage through unmodified supabase-js: every method of its documentation."""

import base64
from io import BytesIO

import pytest
from PIL import Image

from tests.contract.conftest import run_steps
from tests.server import Server


def run(script: str, depot: Server, **variables: str) -> None:
    run_steps(f"storage/{script}.mjs", depot, BASALT_JWT_SECRET=depot.jwt_secret, **variables)


@pytest.mark.req("P8")
def test_buckets(depot: Server) -> None:
    run("buckets", depot)


@pytest.mark.req("P8", "M3")
def test_files(depot: Server) -> None:
    run("files", depot)


@pytest.mark.req("P8", "M5")
def test_images(depot: Server) -> None:
    photo = BytesIO()
    Image.effect_noise((80, 60), 50).convert("RGB").save(photo, "png")
    run("images", depot, BASALT_PHOTO=base64.b64encode(photo.getvalue()).decode())


@pytest.mark.req("P8")
def test_no_method_of_the_client_is_left_out(depot: Server) -> None:
    run("methods", depot)
