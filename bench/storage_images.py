"""How fast images are transformed: `python -m bench.storage_images [--seconds 5] [--record]`.

A JPEG of 12 megapixels becomes 400 × 400, cover, every time with another focal point, so that no finished image is
found. Through the whole server, and set against bare libvips doing the same in as many processes in the same run; then
one finished image again and again.
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import jwt
from PIL import Image

from basalt.config import ImageSettings
from bench.load import Load, Measured, run_load
from bench.outcomes import record_table
from bench.server import Server, serving_bench_project

PROCESSES = ImageSettings().processes
SIZE = (4032, 3024)
SCALED = (533, 400)
SIDE = 400
TARGETS = ("jpeg", "webp", "avif")
CONNECTIONS = PROCESSES * 2
PLANS = 5000
QUALITY = {"jpeg": 80, "webp": 80, "avif": 62}
BUCKET = "pictures"


@dataclass(frozen=True)
class Row:
    """One line of the table; `bare` is what libvips does alone."""

    title: str
    measured: Measured
    bare: float | None = None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.storage_images", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each measurement (5)")
    parser.add_argument("--record", action="store_true", help="append the table to bench/RESULTS.md")
    parser.add_argument("--bare", nargs=2, metavar=("TARGET", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        print(transform_for(arguments.seconds, *arguments.bare))
        return
    tell(
        f"starting the project; the machine's load is {os.getloadavg()[0]:.1f} (near 0 when it is ours alone)"
    )
    picture = build_picture()
    with serving_bench_project() as server:
        upload(server, picture)
        rows = [measure(server, target, picture, arguments.seconds) for target in TARGETS]
        rows.append(
            Row("a finished image", run_load(load_of(server, [path_of("webp", 0)], arguments.seconds)))
        )
    table = render(rows)
    print(table)
    if arguments.record:
        record_table(
            f"Images, {len(picture) / 1e6:.1f} MB of 12 megapixels, {arguments.seconds:g} s each", table
        )


def build_picture() -> bytes:
    """Smooth and rough as a photo: noise at two scales."""
    coarse = [Image.effect_noise((63, 47), 90).resize(SIZE, Image.Resampling.BICUBIC) for _ in range(3)]
    fine = Image.effect_noise(SIZE, 60)
    buffer = io.BytesIO()
    Image.merge("RGB", [Image.blend(each, fine, 0.15) for each in coarse]).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def upload(server: Server, picture: bytes) -> None:
    token = jwt.encode({"role": "service_role", "exp": int(time.time()) + 3600}, server.jwt_secret)
    with httpx2.Client(
        base_url=f"http://{server.host}:{server.port}/storage/v1",
        headers={"authorization": f"Bearer {token}"},
        timeout=60,
    ) as client:
        client.post("/bucket", json={"name": BUCKET, "public": True}).raise_for_status()
        sent = client.post(
            f"/object/{BUCKET}/photo.jpg", content=picture, headers={"content-type": "image/jpeg"}
        )
        sent.raise_for_status()


def measure(server: Server, target: str, picture: bytes, seconds: float) -> Row:
    """Bare before and after, for the machine is not always equally fast."""
    tell(f"{target}: bare libvips")
    before = bare_rate(target, picture, seconds / 2)
    tell(f"{target}: Basalt")
    measured = run_load(load_of(server, [path_of(target, number) for number in range(PLANS)], seconds))
    tell(f"{target}: bare libvips again")
    after = bare_rate(target, picture, seconds / 2)
    return Row(f"12 megapixels → {SIDE} × {SIDE} {target}", measured, (before + after) / 2)


def load_of(server: Server, paths: list[str], seconds: float) -> Load:
    head = f"Host: {server.host}:{server.port}\r\napikey: {server.anon_key}\r\n\r\n"
    requests = [f"GET {path} HTTP/1.1\r\n{head}" for path in paths]
    return Load(server.host, server.port, requests, connections=CONNECTIONS, seconds=seconds)


def path_of(target: str, number: int) -> str:
    share = number / PLANS
    wanted = "origin" if target == "jpeg" else target
    return (
        f"/storage/v1/render/image/public/{BUCKET}/photo.jpg?width={SIDE}&height={SIDE}&format={wanted}"
        f"&gravity=fp&x_offset={share}&y_offset=0.5"
    )


def bare_rate(target: str, picture: bytes, seconds: float) -> float:
    """Images a second of as many processes as Basalt has."""
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        file.write(picture)
        file.flush()
        command = [sys.executable, "-m", "bench.storage_images", "--seconds", str(seconds), "--bare", target]
        processes = [
            subprocess.Popen(
                [*command, file.name],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "VIPS_CONCURRENCY": "1"},
            )
            for _ in range(PROCESSES)
        ]
        return sum(float(process.communicate()[0]) for process in processes)


def transform_for(seconds: float, target: str, path: str) -> float:
    """Images a second; the first one does not count."""
    import pyvips

    pyvips.cache_set_max(0)
    file, count, started = Path(path), -1, 0.0
    while count < 1 or time.perf_counter() < started + seconds:
        left = count % (SCALED[0] - SIDE)
        image = pyvips.Image.thumbnail_buffer(
            file.read_bytes(), SCALED[0], height=SCALED[1], size="force", option_string="fail_on=error"
        ).crop(left, 0, SIDE, SIDE)
        save(image, target)
        count += 1
        started = started or time.perf_counter()
    return count / (time.perf_counter() - started)


def save(image: Any, target: str) -> bytes:
    match target:
        case "jpeg":
            data: bytes = image.jpegsave_buffer(Q=QUALITY[target], optimize_coding=True, keep="none")
        case "webp":
            data = image.webpsave_buffer(Q=QUALITY[target], keep="none")
        case _:
            data = image.heifsave_buffer(Q=QUALITY[target], compression="av1", effort=1, keep="none")
    return data


def render(rows: list[Row]) -> str:
    lines = [
        f"| what, {PROCESSES} processes | Basalt | p50 ms | p99 ms | bare libvips | ratio |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    for row in rows:
        one = row.measured
        cells = ["", ""] if row.bare is None else [f"{row.bare:.1f}/s", f"{one.rate / row.bare:.2f}"]
        verdict = "" if one.is_clean else f" FAILED {one.statuses} {one.failures[:1]}"
        figures = [f"{one.rate:,.1f}/s", f"{one.p50_ms:.1f}", f"{one.p99_ms:.1f}"]
        lines.append(f"| {row.title}{verdict} | {' | '.join([*figures, *cells])} |")
    return "\n".join(lines)


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
