"""The catalogue of errors, how they are written, and what PostgreSQL's errors become."""

import json
import string
from dataclasses import dataclass

import pytest

from basalt.access import AccessError
from basalt.errors import BasaltError
from basalt.rest.errors import (
    ERRORS,
    RestError,
    is_safe_header,
    render_error,
    rest_error_from_access,
    rest_error_from_database,
    status_of_sqlstate,
)

pytestmark = pytest.mark.req("P5")


@dataclass
class Raised:
    """As much of PostgreSQL's error as the mapping reads."""

    sqlstate: str
    message: str = "message"
    detail: str | None = None
    hint: str | None = None


@pytest.mark.parametrize("code", ERRORS)
def test_every_code_has_texts_that_its_values_fill(code: str) -> None:
    entry = ERRORS[code]
    texts = (entry.message, entry.details or "", entry.hint or "")
    names = {name for text in texts for _, name, _, _ in string.Formatter().parse(text) if name}
    error = RestError(code, **dict.fromkeys(names, "X"))
    answer = render_error(error)
    body = json.loads(answer.body)
    assert answer.status == entry.status
    assert body["code"] == code
    assert "{" not in f"{body['message']}{body['details']}{body['hint']}"


def test_codes_are_postgrests() -> None:
    assert {code: ERRORS[code].status for code in ERRORS} == {
        **dict.fromkeys(("PGRST000", "PGRST001", "PGRST002"), 503), "PGRST003": 504,
        "PGRST100": 400, "PGRST101": 405, "PGRST102": 400, "PGRST103": 416, "PGRST105": 405, "PGRST106": 406,
        "PGRST107": 406, "PGRST108": 400, "PGRST111": 500, "PGRST112": 500, "PGRST114": 400, "PGRST115": 400,
        "PGRST116": 406, "PGRST117": 405, "PGRST118": 400, "PGRST120": 400, "PGRST121": 500, "PGRST122": 400,
        "PGRST123": 400, "PGRST124": 400, "PGRST125": 404, "PGRST126": 404, "PGRST127": 400, "PGRST128": 400,
        "PGRST200": 400, "PGRST201": 300, "PGRST202": 404, "PGRST203": 300, "PGRST204": 400, "PGRST205": 404,
        "PGRST300": 500, "PGRST301": 401, "PGRST302": 401, "PGRST303": 401, "PGRSTX00": 500,
    }  # fmt: skip


def test_error_is_written_as_postgrest_writes_it() -> None:
    answer = render_error(RestError("PGRST106", schema="a", schemas="b, c"))
    assert answer.status == 406
    assert dict(answer.headers) == {
        b"content-type": b"application/json; charset=utf-8",
        b"proxy-status": b"PostgREST; error=PGRST106",
    }
    assert json.loads(answer.body) == {
        "code": "PGRST106",
        "message": "Invalid schema: a",
        "details": None,
        "hint": "Only the following schemas are exposed: b, c",
    }


def test_structured_details_stay_structured() -> None:
    error = RestError("PGRST201", parent="a", child="b", details=[{"cardinality": "many-to-one"}])
    assert json.loads(render_error(error).body)["details"] == [{"cardinality": "many-to-one"}]


def test_headers_of_an_error_cannot_be_split() -> None:
    answer = render_error(BasaltError("a\r\nb", 400, "m", headers=[("X-Own", "1\r\nset-cookie: x")]))
    assert all(b"\n" not in name + value and b"\r" not in name + value for name, value in answer.headers)


@pytest.mark.parametrize(
    ("sqlstate", "message", "is_anonymous", "status"),
    [
        ("08006", "", False, 503),
        ("09000", "", False, 500),
        ("0L000", "", False, 403),
        ("0P000", "", False, 403),
        ("21000", "UPDATE requires a WHERE clause", False, 400),
        ("21000", "more than one row returned by a subquery used as an expression", False, 500),
        ("22023", 'role "nobody" does not exist', False, 401),
        ("22023", "invalid value", False, 400),
        ("22P02", "", False, 400),
        ("22003", "", False, 400),
        ("23502", "", False, 400),
        ("23503", "", False, 409),
        ("23505", "", False, 409),
        ("23514", "", False, 400),
        ("25006", "", False, 405),
        ("25001", "", False, 500),
        ("28000", "", False, 403),
        ("2D000", "", False, 500),
        ("38000", "", False, 500),
        ("39000", "", False, 500),
        ("3B000", "", False, 500),
        ("3D000", "", False, 400),
        ("40001", "", False, 500),
        ("40P01", "", False, 500),
        ("42501", "", True, 401),
        ("42501", "", False, 403),
        ("42703", "", False, 400),
        ("42883", "function f() does not exist", False, 404),
        ("42883", "function xmlagg(integer) does not exist", False, 406),
        ("42P01", "", False, 404),
        ("42P17", "", False, 500),
        ("53400", "", False, 500),
        ("53300", "", False, 503),
        ("54001", "", False, 500),
        ("55006", "", False, 500),
        ("57014", "", False, 500),
        ("57P01", "", False, 503),
        ("58000", "", False, 500),
        ("F0000", "", False, 500),
        ("HV000", "", False, 500),
        ("P0001", "", False, 400),
        ("P0002", "", False, 500),
        ("XX000", "", False, 500),
        ("PT402", "Payment Required", False, 402),
        ("PT204", "", False, 204),
        ("PT999", "", False, 500),
        ("PTabc", "", False, 500),
        ("PT010", "", False, 500),
        ("ABCDE", "", False, 400),
    ],
)
def test_sqlstate_becomes_a_status(sqlstate: str, message: str, is_anonymous: bool, status: int) -> None:
    assert status_of_sqlstate(sqlstate, message, is_anonymous=is_anonymous) == status


@pytest.mark.parametrize(
    ("detail", "headers"),
    [('{"queue": "mail", "retry_after": 5}', (("Retry-After", "5"),)), ("later", ()), (None, ())],
)
def test_a_full_queue_says_when_to_come_again(detail: str | None, headers: object) -> None:
    error = rest_error_from_database(Raised("PT429", "QUEUE_FULL: …", detail), is_anonymous=False)
    assert (error.status, error.headers) == (429, headers)


def test_postgresql_speaks_for_itself() -> None:
    error = rest_error_from_database(
        Raised("23505", "duplicate key", "Key (id)=(1) already exists.", "Try another."), is_anonymous=False
    )
    assert json.loads(render_error(error).body) == {
        "code": "23505",
        "message": "duplicate key",
        "details": "Key (id)=(1) already exists.",
        "hint": "Try another.",
    }


def test_missing_privilege_asks_an_anonymous_caller_to_sign_in() -> None:
    error = rest_error_from_database(Raised("42501"), is_anonymous=True)
    assert (b"www-authenticate", b"Bearer") in render_error(error).headers
    assert not rest_error_from_database(Raised("42501"), is_anonymous=False).headers


def test_status_without_content_has_no_body() -> None:
    assert render_error(rest_error_from_database(Raised("PT204"), is_anonymous=False)).body == b""


# raise sqlstate 'PGRST'


def test_a_routine_decides_the_whole_answer() -> None:
    message = '{"code":"123","message":"Payment Required","details":"Quota exceeded","hint":"Upgrade"}'
    detail = '{"status":402,"status_text":"You must pay","headers":{"X-Powered-By":"Nerd Rage","Bad\\n":"a"}}'
    error = rest_error_from_database(Raised("PGRST", message, detail), is_anonymous=False)
    answer = render_error(error)
    assert answer.status == 402
    assert (b"x-powered-by", b"Nerd Rage") in answer.headers
    assert not any(name.startswith(b"bad") for name, _ in answer.headers)
    assert json.loads(answer.body) == {
        "code": "123",
        "message": "Payment Required",
        "details": "Quota exceeded",
        "hint": "Upgrade",
    }


GOOD = '{"code":"1","message":"m"}'


@pytest.mark.parametrize(
    ("message", "detail", "details", "hint_starts"),
    [
        (
            "INVALID",
            '{"status":332,"headers":{}}',
            "Invalid JSON value for MESSAGE: 'INVALID'",
            "MESSAGE must be",
        ),
        ('{"code":"1"}', "{}", 'Invalid JSON value for MESSAGE: \'{"code":"1"}\'', "MESSAGE must be"),
        ("[]", "{}", "Invalid JSON value for MESSAGE: '[]'", "MESSAGE must be"),
        (GOOD, "INVALID", "Invalid JSON value for DETAIL: 'INVALID'", "DETAIL must be"),
        (GOOD, '{"status":400}', "Invalid JSON value for DETAIL: '{\"status\":400}'", "DETAIL must be"),
        (GOOD, '{"status":"400","headers":{}}', None, "DETAIL must be"),
        (GOOD, '{"status":99999,"headers":{}}', None, "DETAIL must be"),
        (GOOD, '{"status":400,"headers":{"a":1}}', None, "DETAIL must be"),
        (GOOD, None, "DETAIL is missing in the RAISE statement", "DETAIL must be"),
    ],
)
def test_a_raise_that_cannot_be_read_is_pgrst121(
    message: str, detail: str | None, details: str | None, hint_starts: str
) -> None:
    error = rest_error_from_database(Raised("PGRST", message, detail), is_anonymous=False)
    assert (error.code, error.status) == ("PGRST121", 500)
    assert error.message == "Could not parse JSON in the \"RAISE SQLSTATE 'PGRST'\" error"
    assert error.hint is not None
    assert error.hint.startswith(hint_starts)
    if details is not None:
        assert error.details == details


# Tokens


@pytest.mark.parametrize(
    ("reason", "code", "message"),
    [
        ("expired", "PGRST303", "JWT expired"),
        ("not_yet_valid", "PGRST303", "JWT not yet valid"),
        ("audience", "PGRST303", "JWT not in audience"),
        ("signature", "PGRST301", "No suitable key or wrong key type"),
        ("unsupported_algorithm", "PGRST301", "Wrong or unsupported encoding algorithm"),
    ],
)
def test_refused_token_is_said_in_postgrests_codes(reason: str, code: str, message: str) -> None:
    error = rest_error_from_access(AccessError(reason))  # type: ignore[arg-type]
    assert (error.code, error.status, error.message) == (code, 401, message)
    assert error.headers == (
        ("WWW-Authenticate", f'Bearer error="invalid_token", error_description="{message}"'),
    )


def test_missing_key_asks_for_one() -> None:
    error = rest_error_from_access(AccessError("missing"))
    assert (error.code, error.status, error.headers) == ("PGRST302", 401, (("WWW-Authenticate", "Bearer"),))


@pytest.mark.parametrize(
    ("name", "value", "safe"),
    [
        ("x-own", "a b", True),
        ("Set-Cookie", "a=b; Path=/", True),
        ("", "a", False),
        ("a b", "a", False),
        ("a:", "a", False),
        ("é", "a", False),
        ("a", "b\r\nc: d", False),
        ("a", "b\0", False),
    ],
)
def test_headers_of_routines_are_checked(name: str, value: str, safe: bool) -> None:
    assert is_safe_header(name, value) is safe
