"""What a page shows of `config.toml` is taken as it stands there."""

import base64
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from basalt.config import load_settings
from tests.projects import write_project

DOCS = Path(__file__).parent.parent.parent / "docs"
EXAMPLE = re.compile(r"```toml\n(.*?)```", re.DOTALL)
VARIABLE = re.compile(r"env\((\w+)\)")
HOOK_SECRET = "v1,whsec_" + base64.b64encode(bytes(32)).decode()
VALUES = {
    "HOOK_SECRETS": HOOK_SECRET,
    "SCANNER_SECRET": HOOK_SECRET,
    "NOTIFY_ENVIRONMENT": "inbox",
    "PAGER_URL": "https://alerts.example",
}
EXAMPLES = {
    f"{page.relative_to(DOCS)} {number}": text
    for page in sorted(DOCS.rglob("*.md"))
    for number, text in enumerate(EXAMPLE.findall(page.read_text("utf-8")), start=1)
}


@pytest.fixture(scope="module")
def saml_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    der = key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    return base64.b64encode(der).decode()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_settings_is_taken(name: str, tmp_path: Path, saml_key: str) -> None:
    text = EXAMPLES[name]
    values = {**VALUES, "SAML_PRIVATE_KEY": saml_key}
    environ = {variable: values.get(variable, "x") for variable in VARIABLE.findall(text)}
    settings = load_settings(write_project(tmp_path, {"config.toml": text}), environ)
    assert settings.unknown_keys == ()
