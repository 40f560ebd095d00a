"""What a user can set, call or meet as an error appears in the reference."""

from pathlib import Path

from basalt.config.reference import render_reference

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_the_settings_page_is_up_to_date() -> None:
    assert (DOCS / "reference" / "settings.md").read_text("utf-8") == render_reference()
