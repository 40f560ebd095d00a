"""`basalt gen types`: the types of a database for programs that call it.

`load_types` reads schemas into values (`shape`); `render_typescript` and `render_python` print them, and know no
database.
"""

from basalt.project.types.load import load_types
from basalt.project.types.python import render_python
from basalt.project.types.shape import SchemaTypes
from basalt.project.types.typescript import render_typescript

__all__ = ["SchemaTypes", "load_types", "render_python", "render_typescript"]
