"""`basalt functions new`: a function to begin with."""

from pathlib import Path

from basalt.config import Settings
from basalt.errors import BasaltError
from basalt.functions.functions import ENTRYPOINTS, NAME, functions_dir

TEMPLATE = '''"""`supabase.functions.invoke('{name}', {{ body: {{ name: 'Ada' }} }})`"""

from basalt.functions import Context, Request
from pydantic import BaseModel, Field


class Body(BaseModel):
    name: str = Field(default="world", max_length=100)


async def handler(request: Request, context: Context) -> object:
    body = request.parse(Body) if request.body else Body()
    context.log.info("called by %s", context.user_id or context.role)
    return {{"message": f"Hello {{body.name}}!"}}
'''


def create_function(settings: Settings, name: str) -> Path:
    """The path of its file. Raises BasaltError where the name is none, or taken."""
    if not NAME.fullmatch(name):
        raise BasaltError(
            "function_name_invalid",
            400,
            f"{name!r} is no name for a function",
            hint="A letter or digit, then up to 99 letters, digits, - and _",
        )
    folder = functions_dir(settings) / name
    if taken := [folder / file for file in ENTRYPOINTS if (folder / file).exists()]:
        raise BasaltError("function_exists", 409, f"{taken[0]} exists already; nothing was written")
    path = folder / "index.py"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(TEMPLATE.format(name=name), "utf-8")
    except OSError as exc:
        raise BasaltError("function_unwritable", 500, f"{exc.filename}: {exc.strerror}") from exc
    return path
