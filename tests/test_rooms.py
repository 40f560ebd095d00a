"""Imports point down the house: a room imports rooms on floors below it and enters them by their front."""

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "basalt"

# From the top. On the first and the last floor a room may import those named after it on the same floor.
FLOORS = (
    ("cli", "start", "supervisor", "children", "worker", "gateway", "project"),
    ("studio",),
    ("rest", "auth", "realtime", "storage", "functions", "notify"),
    ("jobs",),
    ("senders",),
    (
        "bus",
        "flags",
        "kv",
        "postgres",
        "access",
        "http",
        "observe",
        "config",
        "errors",
        "bounded_dict",
        "waiting",
        "late",
        "collector",
    ),
)
ORDERED_FLOORS = (0, len(FLOORS) - 1)
# Parts of a room that few need: they are entered by a front of their own, so that the room's does not list them.
INNER_FRONTS = frozenset({"basalt.postgres.backup", "basalt.postgres.upgrade"})
FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}


def imports() -> Iterator[tuple[Path, str, str]]:
    """File, importing room, imported module, for every import of Basalt by Basalt."""
    for path in sorted(SOURCE.rglob("*.py")):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("basalt"):
                names = (
                    [node.module]
                    if node.module != "basalt"
                    else [f"basalt.{alias.name}" for alias in node.names]
                )
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names if alias.name.startswith("basalt.")]
            else:
                continue
            for name in names:
                yield path, room, name


def is_allowed(room: str, imported: str) -> bool:
    above, below = FLOOR_OF[room], FLOOR_OF[imported]
    if above == below:
        floor = FLOORS[above]
        return room == imported or (above in ORDERED_FLOORS and floor.index(room) < floor.index(imported))
    return above < below


def test_imports_point_down() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}: {room} → {module}"
        for path, room, module in imports()
        if room != "__init__" and not is_allowed(room, module.split(".")[1])
    ]
    assert not wrong, "\n".join(wrong)


def test_rooms_are_entered_by_their_front() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}: {module}"
        for path, room, module in imports()
        if module.count(".") > 1 and module not in INNER_FRONTS and module.split(".")[1] != room
    ]
    assert not wrong, "\n".join(wrong)


def test_no_import_hides_inside_a_function() -> None:
    hidden = []
    for path in sorted(SOURCE.rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                hidden += [
                    f"{path.relative_to(SOURCE)}:{node.lineno}"
                    for node in ast.walk(function)
                    if isinstance(node, (ast.Import, ast.ImportFrom))
                ]
    assert not hidden, "\n".join(hidden)


def test_what_a_front_loads_late_is_not_called_like_a_module_of_the_room() -> None:
    """Importing the module would put it in the place of what is wanted, for everybody who asks afterwards."""
    wrong = []
    for front in sorted(SOURCE.rglob("__init__.py")):
        for node in ast.parse(front.read_text("utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Dict, ast.Call)):
                names = {part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)}
                wrong += [
                    f"{front.relative_to(SOURCE)}: {name}"
                    for name in names
                    if isinstance(name, str) and name.isidentifier() and is_module(front.parent / name)
                ]
    assert not wrong


def is_module(path: Path) -> bool:
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()
