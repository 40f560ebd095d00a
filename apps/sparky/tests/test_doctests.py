"""The examples in the functions' modules: pytest does not collect below `supabase/`."""

import doctest

import pytest

from . import pictures  # noqa: F401  puts the functions' modules on the path

# isort: split
from _shared import analysis, gemini, generation


@pytest.mark.req("S4", "S6")
def test_the_examples_of_the_modules_hold() -> None:
    for module in (analysis, gemini, generation):
        result = doctest.testmod(module)
        assert result.attempted > 0
        assert result.failed == 0
