"""Where a function's imports lead, and what is said when they lead nowhere."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from basalt.functions import FunctionError
from tests.functions.deno_processes import Start, a_call, answer_of, needs_deno, whole_body, write_functions

pytestmark = [pytest.mark.req("P9"), needs_deno]

SAYS = "Deno.serve(() => new Response(word));\n"


class ModuleHost(SimpleHTTPRequestHandler):
    extensions_map = {".ts": "application/typescript"}  # noqa: RUF012

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def modules(tmp_path: Path) -> Iterator[str]:
    """A host of modules, as deno.land and esm.sh are; not every machine that runs the tests can reach those."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "word.ts").write_text('export { word } from "./deeper.ts";\n')
    (folder / "deeper.ts").write_text('export const word: string = "from afar";\n')
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(ModuleHost, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


async def said(start: Start, functions_dir: Path, name: str = "say", **changes: object) -> str:
    process = await start(name, functions_dir, **changes)
    return (await whole_body(await answer_of(process, a_call(f"/{name}")))).decode()


async def boot_error(start: Start, functions_dir: Path, name: str = "say") -> str:
    with pytest.raises(FunctionError) as caught:
        await start(name, functions_dir)
    assert (caught.value.code, caught.value.status) == ("BOOT_ERROR", 503)
    return caught.value.message


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("import_map.json", {"imports": {"words/": "./_words/"}}),
        ("say/import_map.json", {"imports": {"words/": "../_words/"}}),
        (
            "say/deno.json",
            {"imports": {"words/": "../_words/"}, "tasks": {"x": "y"}, "nodeModulesDir": "auto"},
        ),
        ("say/deno.jsonc", {"importMap": "../maps/one.json"}),
        ("deno.json", {"scopes": {"./say/": {"words/": "./_words/"}}}),
    ],
)
async def test_an_import_map_is_found_in_every_place_where_projects_have_one(
    start: Start, tmp_path: Path, place: str, text: object
) -> None:
    files = {
        "say/index.ts": f'import {{ word }} from "words/word.ts";\n{SAYS}',
        "_words/word.ts": 'export const word: string = "mapped";\n',
        "maps/one.json": '{"imports": {"words/": "../_words/"}}',
        place: json.dumps(text),
    }
    assert await said(start, write_functions(tmp_path, files)) == "mapped"


async def test_the_configured_import_map_comes_first(start: Start, tmp_path: Path) -> None:
    files = {
        "say/index.ts": f'import {{ word }} from "word";\n{SAYS}',
        "import_map.json": '{"imports": {"word": "./nowhere.ts"}}',
        "maps/chosen.json": '{"imports": {"word": "./word.ts"}}',
        "maps/word.ts": 'export const word = "chosen";\n',
    }
    functions = write_functions(tmp_path, files)
    assert await said(start, functions, import_map=functions / "maps" / "chosen.json") == "chosen"


async def test_modules_are_imported_by_address_and_kept(start: Start, tmp_path: Path, modules: str) -> None:
    text = f'import {{ word }} from "{modules}/word.ts";\n{SAYS}'
    functions = write_functions(tmp_path, {"say/index.ts": text})
    assert await said(start, functions) == "from afar"
    (tmp_path / "modules" / "word.ts").unlink()
    assert await said(start, functions) == "from afar"


async def test_modules_of_node_and_npm_are_there(start: Start, tmp_path: Path) -> None:
    text = """
import { createHash } from "node:crypto";
import { Buffer } from "node:buffer";
import ms from "npm:ms@2.1.3";
const word = [createHash("md5").update("a").digest("hex"), Buffer.from("hi").toString("base64"), ms("2d")].join(" ");
"""
    functions = write_functions(tmp_path, {"say/index.ts": text + SAYS})
    assert await said(start, functions) == "0cc175b9c0f1b6a831c399e269772661 aGk= 172800000"


@pytest.mark.parametrize(
    "address",
    [
        "https://deno.land/std/http/server.ts",
        "https://deno.land/std@0.168.0/http/server.ts",
        "https://deno.land/std@0.224.0/http/server.ts",
        "server",
        "std/http/server.ts",
    ],
)
async def test_the_old_serve_works_whatever_its_version_and_name(
    start: Start, tmp_path: Path, address: str
) -> None:
    maps = {
        "server": "https://deno.land/std@0.177.1/http/server.ts",
        "std/": "https://deno.land/std@0.190.0/",
    }
    files = {
        "import_map.json": json.dumps({"imports": maps}),
        "_shared/deps.ts": f'export {{ serve }} from "{address}";\n',
        "say/index.ts": 'import { serve } from "../_shared/deps.ts";\n'
        "await serve((_req, info) => new Response(info.remoteAddr.hostname), { port: 8000 });\n",
    }
    assert await said(start, write_functions(tmp_path, files)) == "127.0.0.1"


@pytest.mark.parametrize(
    "address",
    [
        "jsr:@supabase/functions-js/edge-runtime.d.ts",
        "jsr:@supabase/functions-js@2/edge-runtime.d.ts",
        "https://esm.sh/@supabase/functions-js/src/edge-runtime.d.ts",
        "https://esm.sh/v135/@supabase/functions-js@2.4.1/src/edge-runtime.d.ts?x=1",
    ],
)
async def test_imports_of_types_need_no_network(start: Start, tmp_path: Path, address: str) -> None:
    text = f'import "{address}";\nconst word = "typed";\n{SAYS}'
    assert await said(start, write_functions(tmp_path, {"say/index.ts": text})) == "typed"


async def test_a_lock_file_pins_versions_and_is_not_written_to(start: Start, tmp_path: Path) -> None:
    lock = {"version": "4", "specifiers": {"npm:ms@2": "2.1.2"}, "npm": {"ms@2.1.2": {"integrity": MS_2_1_2}}}
    text = 'import pkg from "npm:ms@2/package.json" with { type: "json" };\nconst word = pkg.version;\n'
    functions = write_functions(
        tmp_path, {"say/index.ts": text + SAYS, "say/deno.lock": json.dumps(lock), "say/deno.json": "{}"}
    )
    assert await said(start, functions) == "2.1.2"
    assert json.loads((functions / "say" / "deno.lock").read_text()) == lock


MS_2_1_2 = "sha512-sGkPx+VjMtmA6MX27oA4FBFELFCZZ4S4XqeGOXCv68tT+jb3vk/RyaKWP0PTKyWtmLSM0b+adUTEvbs1PEaH2w=="


@pytest.mark.parametrize(
    ("text", "said_of_it"),
    [
        ('import { a } from "./nope.ts";\n', 'Module not found "say/nope.ts"'),
        ('import a from "openai";\n', '"openai"'),
        ('import a from "http://127.0.0.1:9/a.ts";\n', "Import 'http://127.0.0.1:9/a.ts' failed"),
        ('import { a } from "node:fs";\nconsole.log(a);\n', "does not provide an export named 'a'"),
        ("const a = 1;\nconst b = a +;\n", "say/index.ts:2:14"),
        ('const a = 1;\nthrow new Error("no key");\n', "Error: no key\n    at say/index.ts:2:7"),
        ("Deno.exit(4);\n", "its process ended while it was loaded"),
        ("export const handler = () => {};\n", "neither calls Deno.serve nor exports default { fetch }"),
        ('(async () => { throw new Error("late") })();\n', "Error: late"),
    ],
)
async def test_a_function_that_cannot_be_loaded_says_why(
    start: Start, tmp_path: Path, text: str, said_of_it: str
) -> None:
    message = await boot_error(start, write_functions(tmp_path, {"say/index.ts": text}))
    assert said_of_it in message
    assert str(tmp_path) not in message


async def test_a_broken_import_map_is_named(start: Start, tmp_path: Path) -> None:
    functions = write_functions(tmp_path, {"say/index.ts": SAYS, "say/deno.json": '{"imports": [}'})
    assert "deno.json: " in await boot_error(start, functions)
