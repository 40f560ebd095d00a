"""What stands in the way of a module."""

from basalt.errors import BasaltError


class ModuleError(BasaltError):
    """A module does not fit the database; nothing of it stays."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__("module_failed", 500, message, hint=hint)
