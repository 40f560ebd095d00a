"""Print the reference of errors from the tables of codes:
`python tools/errors_reference.py > docs/reference/errors.md`."""

import ast
from collections.abc import Iterator
from pathlib import Path

from basalt.auth.errors import CODES
from basalt.notify.errors import ERRORS as NOTIFY_ERRORS
from basalt.project.backup.errors import MESSAGES as BACKUP_MESSAGES
from basalt.realtime.errors import WORDINGS
from basalt.rest.errors import ERRORS
from basalt.storage.errors import ERRORS as STORAGE_ERRORS

SOURCE = Path(__file__).parent.parent / "src" / "basalt"

INTRODUCTION = """\
# Errors

Each service answers in the shape of the Supabase service it speaks for; everything else in one structured
shape. `x-request-id` is in every answer and in the log. This page is printed from the source by
`python tools/errors_reference.py`.

## REST

`{"code", "message", "details", "hint"}`, as PostgREST. Errors of PostgreSQL keep their SQLSTATE as the code;
`raise … using errcode = 'PT402'` gives the status 402. Texts in braces are filled in.

| code | status | message |
| --- | --- | --- |
"""
AUTH = """
## Auth

`{"code": status, "error_code", "msg"}`, or `{"code", "message"}` for clients that send
`X-Supabase-Api-Version: 2024-01-01`. Some flows give a code another status, as GoTrue does.

| error_code | status | message |
| --- | --- | --- |
"""
REALTIME = """
## Realtime

Words, not codes: a refused handshake answers `{"error": …}`, a refused join `{"reason": …}` (a token's fault with
`InvalidJWTToken: `, `MalformedJWT: ` or `JwtSignatureError: ` before it), and on an open channel a `system` message
says it, before the channel is closed where it is. What is wrong with a subscription to changes is a `system` message
with the extension `postgres_changes`, in Supabase's words.

| words | where | when |
| --- | --- | --- |
"""
STORAGE = """
## Storage

`{"statusCode", "error", "message", "code"}`, as Supabase Storage: the JSON API answers with HTTP 400 whatever the
status, which is in `statusCode`, but for those marked with *. Resumable uploads answer with the status and the message
as text, S3 with the status and the code in XML. Validation names the place: `body/limit must be <= 1000`.

| code | statusCode | error | message |
| --- | --- | --- | --- |
"""
NOTIFICATIONS = """
## Notifications

Structured, as below: `template_…` also stand in the `error` of an event that failed in the worker. `issue_notification`
raises `PT400`, `PT404`, `PT413` and `PT429` with the same sentences.

| code | status | message |
| --- | --- | --- |
"""
STRUCTURED = """
## Functions, console, gateway and command line

`{"error": {"code", "message", "details", "hint", "timestamp", "requestId"}}` over HTTP; the command line prints
message and hint. A function's own codes are its author's.

| code | status |
| --- | --- |
"""

BACKUPS = """
## Backups

`basalt backup` prints message and hint; texts in braces are filled in.

| code | message |
| --- | --- |
"""


def render() -> str:
    rest = [f"| `{code}` | {entry.status} | {cell(entry.message)} |" for code, entry in ERRORS.items()]
    auth = [f"| `{code}` | {status} | {cell(message)} |" for code, (status, message) in CODES.items()]
    storage = [
        f"| `{code}` | {entry.status}{'*' if entry.as_http else ''} | {cell(entry.error)} | {cell(entry.message)} |"
        for code, entry in STORAGE_ERRORS.items()
    ]
    notifications = [
        f"| `{code}` | {entry.status} | {cell(entry.message)} |" for code, entry in NOTIFY_ERRORS.items()
    ]
    structured = [f"| `{code}` | {status} |" for code, status in sorted(set(structured_codes()))]
    return (
        INTRODUCTION
        + "\n".join(rest)
        + "\n"
        + AUTH
        + "\n".join(auth)
        + "\n"
        + REALTIME
        + "\n".join(f"| {cell(words)} | {where} | {when} |" for words, where, when in WORDINGS)
        + "\n"
        + STORAGE
        + "\n".join(storage)
        + "\n"
        + NOTIFICATIONS
        + "\n".join(notifications)
        + "\n"
        + STRUCTURED
        + "\n".join(structured)
        + "\n"
        + BACKUPS
        + "\n".join(f"| `{code}` | {cell(message)} |" for code, message in BACKUP_MESSAGES.items())
        + "\n"
    )


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def structured_codes() -> Iterator[tuple[str, str]]:
    """Code and status of every error that is raised with both written out."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            values = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            is_error = name.endswith("Error") or name == "__init__"
            if is_error and len(values) > 1 and isinstance(values[0], str) and isinstance(values[1], int):
                yield str(values[0]), str(values[1])
            elif name == "FunctionError" and values and isinstance(values[0], str):
                status = [
                    word.value.value
                    for word in node.keywords
                    if word.arg == "status" and isinstance(word.value, ast.Constant)
                ]
                yield values[0], str(status[0] if status else 400)


if __name__ == "__main__":
    print(render(), end="")
