"""Takes secrets out of what other people's code says: messages and tracebacks of libraries, which quote the URL or the
header that they stumbled over. What Basalt logs itself names its fields one by one."""

import re

MASK = "***"
# Names of parameters and settings whose values open something.
NAMES = (
    r"(?:access_|refresh_|id_|provider_|auth_|security_|x-amz-security-)?token|api_?key|(?:client_)?secret"
    r"|password|passwd|pwd|code_verifier|sig|(?:x-amz-)?signature|(?<=[?&])code"
)
SECRETS = re.compile(
    rf"""
    (?P<login> //[^/\s:@'"]*: ) [^/\s@]+ (?=@)             # postgresql://user:PASSWORD@host
    | (?P<named> (?<![a-z0-9-])(?:{NAMES})["']?\s*[=:]\s* ) (?: '[^']*' | "[^"]*" | [^\s&'",;)}}\]]+ )
    | (?P<scheme> \b(?:bearer|basic)\s+ ) [a-z0-9._~+/=-]{{8,}}
    | \beyJ[\w-]+\.[\w-]+\.[\w-]+                           # a token
    | \bsb_secret_[\w-]+                                    # a project's key
    """,
    re.IGNORECASE | re.VERBOSE,
)


def mask_secrets(text: str) -> str:
    """
    >>> mask_secrets("no route to postgresql://ada:p%40ss@db:5432/app?sslmode=require")
    'no route to postgresql://ada:***@db:5432/app?sslmode=require'
    >>> mask_secrets("GET /object/sign/a.png?token=eyJhbGciOiJIUzI1NiJ9.e30.x&width=2: 500")
    'GET /object/sign/a.png?token=***&width=2: 500'
    >>> mask_secrets("Invalid header value b'Bearer xaat-0123456789\\\\n'")
    "Invalid header value b'Bearer ***\\\\n'"
    """
    return SECRETS.sub(_mask, text)


def _mask(found: re.Match[str]) -> str:
    kept = found["login"] or found["named"] or found["scheme"] or ""
    return kept + MASK
