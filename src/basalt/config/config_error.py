"""What is wrong with the settings: every bad value, with where it stands and why it will not do."""

from collections.abc import Sequence
from dataclasses import dataclass

from basalt.errors import BasaltError


@dataclass(frozen=True, slots=True)
class Problem:
    """`file` is a path, or where else the value came from: `environment`, `database`."""

    file: str
    key: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.reason}" if self.key else f"{self.file}: {self.reason}"


class ConfigError(BasaltError):
    """The settings cannot be used; `problems` names every bad value."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("invalid_config", 500, "\n".join(map(str, problems)))
