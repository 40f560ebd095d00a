"""Templates: what they can say, and what no template can do to anybody."""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basalt.notify import Template, TemplateError, render
from basalt.notify.template_book import TemplateBook
from basalt.notify.templates import build_variables, check_template, check_variables
from basalt.postgres import DatabaseAccess, open_pool

pytestmark = [pytest.mark.req("H21")]

BIG = "a" * 60_000
VARIABLES: Mapping[str, Any] = {
    "name": "Ann",
    "big": BIG,
    "order": {"items": 3, "city": "Wien"},
    "gigs": [{"title": "Sax", "fee": 10}, {"title": "Bass", "fee": 20.5}],
    "at": "2026-03-04T10:00:00Z",
}


def a_template(body: str, html: str | None = None, schema: Mapping[str, Any] | None = None) -> Template:
    return Template("1", "gig.new", "email", "en", 1, "About {{ name }}", body, html, schema or {})


def text_of(body: str) -> str:
    return render(a_template(body), VARIABLES).body


SAYINGS = {
    "Hi {{ name }}": "Hi Ann",
    "{% for gig in gigs %}{{ loop.index }} {{ gig.title }}{{ '' if loop.last else ', ' }}{% endfor %}": "1 Sax, 2 Bass",
    "{{ gigs|join(' and ', attribute='title') }} = {{ gigs|sum(attribute='fee') }}": "Sax and Bass = 30.5",
    "{{ order.items }}{{ order['city'] }}{{ order.get('zip', '-') }}": "3Wien-",
    "{{ nick|default(name) }}{% if nick is not defined %}!{% endif %}": "Ann!",
    "{{ at|date('%d.%m.%Y %H:%M', 'Europe/Vienna') }}": "04.03.2026 11:00",
    "{{ (name ~ '-' ~ 1)|upper }}{{ 7 // 2 * 2 }}{{ 3.14159|round(2) }}": "ANN-163.14",
    "{% set greeting = 'Hi' if name == 'Ann' else 'Hello' %}{{ greeting }}": "Hi",
    "{% for n in range(4) if n is odd %}{{ n }}{% else %}none{% endfor %}": "13",
    "{{ name.lower() }}{{ name[0] }}{{ name|length }}{{ 'nn' in name }}": "annA3True",
    "{{ {'a': None}['a'] }}{{ gigs|tojson|length }}": "61",
    "{{ {'a': [1, -2, {'b': 'c'}]}['a'][2]['b'] }}{{ name[1:] ~ none }}{{ 1 < 2 < 3 }}": "cnnTrue",
}


def test_what_a_template_can_say() -> None:
    for body, text in SAYINGS.items():
        assert text_of(body) == text, body


def test_html_is_escaped_and_text_is_not() -> None:
    made = render(
        a_template("{{ name ~ '&' }}", "<b>{{ name ~ '&' }}</b>{{ [1]|join('<') }}"), {"name": "<i>\r\nx"}
    )
    assert (made.subject, made.body) == ("About <i> x", "<i>\r\nx&")
    assert made.html == "<b>&lt;i&gt;\r\nx&amp;</b>1"


def test_a_missing_variable_is_named() -> None:
    for body, variable in (
        ("{{ nick }}", "nick"),
        ("{{ order.zip }}", "zip"),
        ("{{ nick.upper() }}", "nick"),
        ("{{ nick|upper }}", "nick"),
        ("{% for a in nicks %}{% endfor %}", "nicks"),
        ("{% if nick %}{% endif %}", "nick"),
        ("{{ 'a' ~ nick }}", "nick"),
        ("{{ nick.__class__ }}", "nick"),
    ):
        with pytest.raises(TemplateError) as refused:
            text_of(body)
        assert (refused.value.code, refused.value.variable) == ("template_variable_missing", variable), body
        assert refused.value.message == f"Template gig.new/email/en v1: variable '{variable}' is missing"


DOUBLING = "{% set a = 'aaaaaaaaaaaaaaaa' %}"
HOSTILE: dict[str, str] = {
    "{{ ''.__class__ }}": "template_failed",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}": "template_failed",
    "{{ name['__class__'] }}": "template_variable_missing",
    "{{ ''|attr('__class__') }}": "template_invalid",
    "{{ range.__globals__ }}": "template_failed",
    "{{ self.__init__ }}": "template_failed",
    "{{ cycler.__init__ }}": "template_variable_missing",
    "{{ lipsum() }}": "template_variable_missing",
    "{{ '{0.__class__}'.format(1) }}": "template_failed",
    "{{ '%1000000000d' % 1 }}": "template_failed",
    "{{ 'x'.ljust(10**9) }}": "template_failed",
    "{{ 'a' * 10**9 }}": "template_failed",
    "{{ [0] * 10**9 }}": "template_failed",
    "{{ 10**(10**10) }}": "template_too_slow",
    "{{ 9**9999 }}": "template_too_slow",
    "{{ range(10**9) }}": "template_too_slow",
    "{{ range(10**9)|join }}": "template_too_slow",
    "{{ order.update({'a': 1}) }}": "template_failed",
    "{{ order.clear() }}": "template_failed",
    "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}": "template_too_slow",
    "{% for a in range(10000) %}{{ big }}{% endfor %}": "template_too_long",
    "{% for a in range(9999) %}{% set b = big|replace('b', 'c') %}{% endfor %}": "template_too_slow",
    "{% for a in range(9999) %}{% set b = big ~ a %}{% endfor %}": "template_too_slow",
    "{% for a in range(9999) %}{% set b = big.upper() %}{% endfor %}": "template_too_slow",
    DOUBLING + "{% set a = a ~ a %}" * 40 + "{{ a }}": "template_too_long",
    DOUBLING + "{% set a = a + a %}" * 40 + "{{ a }}": "template_too_long",
    "{% set a = [1] %}" + "{% set a = [a, a] %}" * 50 + "{{ a }}": "template_invalid",
    "{{ '\"'" + "|tojson" * 40 + " }}": "template_too_long",
    "{{ big|replace('a', big) }}": "template_too_long",
    "{{ big|join(big) }}": "template_too_long",
    "{{ 1.5|round(-10**9) }}": "template_failed",
    "{{ 'a'|tojson(indent=10**9) }}": "template_failed",
    "{{ at|date('%1000000000d') }}": "template_failed",
    "{{ at|date('%Y', '../../etc/passwd') }}": "template_failed",
    "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}": "template_invalid",
    "{% for x in gigs recursive %}{{ loop(gigs) }}{% endfor %}": "template_invalid",
    "{% include '/etc/passwd' %}": "template_invalid",
    "{% import 'os' as os %}": "template_invalid",
    "{% extends 'x' %}": "template_invalid",
    "{% filter upper %}{% endfilter %}": "template_invalid",
    "{{ " + "(" * 500 + "1" + ")" * 500 + " }}": "template_invalid",
    "{{ " + "not " * 2000 + "1 }}": "template_invalid",
    "{{ 1" + "+1" * 5000 + " }}": "template_invalid",
    "{{ " + "-" * 3000 + "1 }}": "template_invalid",
    "{% if 1 %}" * 300 + "{% endif %}" * 300: "template_invalid",
    "{{ name": "template_invalid",
    "{{ name|nope }}": "template_invalid",
    "{{ name is nope }}": "template_invalid",
    "{{ order }}": "template_failed",
    "{{ gigs }}": "template_failed",
    "{{ name + 1 }}": "template_failed",
    "{{ 1 / 0 }}": "template_failed",
    "x" * 70_000: "template_invalid",
    "{{ " + "9" * 5000 + " }}": "template_invalid",
    "{{ 0x" + "f" * 6000 + " }}": "template_invalid",
    "{{ 1e999 }}": "template_invalid",
    # Two of them, compared, would take years.
    "{% set a = {'x': a, 'y': a} %}" * 50 + "{{ a == a }}": "template_invalid",
    "{% set a = [{'x': a}] %}{{ a == a }}": "template_invalid",
    "{% set l = big.split('a') %}" + "{% if 1 in l %}{% endif %}" * 300: "template_too_slow",
    "{% set l = big.split('a') %}" + "{% if 1 is in l %}{% endif %}" * 300: "template_too_slow",
    "{% set l = big.split('a') %}" + "{% set m = l[1:] %}" * 300: "template_too_slow",
    # Where in memory something is.
    "{{ range|string }}": "template_failed",
    "{{ '' ~ range }}": "template_failed",
    "{{ name.upper|lower }}": "template_failed",
    "{{ self|e }}": "template_failed",
    "{% for gig in gigs %}{{ loop|string }}{% endfor %}": "template_failed",
    "{{ '' ~ order }}": "template_failed",
}


@pytest.mark.req("M8")
@pytest.mark.parametrize("body", HOSTILE, ids=lambda body: body[:40])
def test_a_hostile_template_is_told_why_and_costs_little(body: str) -> None:
    started = time.thread_time()
    with pytest.raises(TemplateError) as refused:
        text_of(body)
    assert refused.value.code == HOSTILE[body], refused.value.message
    assert time.thread_time() - started < 1.5  # a quarter of a second, and the compiler's share


@given(body=st.text(alphabet="{}%|~.()[]+-*'\"abx01 \n_", max_size=60))
def test_no_text_is_more_than_a_text_or_an_error(body: str) -> None:
    with suppress(TemplateError):
        assert isinstance(text_of(body), str)


def test_a_context_is_held_against_the_schema() -> None:
    schema = {
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "fee": {"type": "integer", "minimum": 0}},
    }
    template = a_template("x", schema=schema)
    check_variables(template, {"name": "Ann", "fee": 3})
    for context, code, text in (
        ({}, "template_variable_missing", "variable 'name' is missing"),
        ({"name": 1}, "template_variables_invalid", "$.name: 1 is not of type 'string'"),
        ({"name": "a", "fee": -1}, "template_variables_invalid", "$.fee"),
    ):
        with pytest.raises(TemplateError) as refused:
            check_variables(template, context)
        assert refused.value.code == code
        assert text in refused.value.message


@pytest.mark.req("M8")
def test_a_schema_that_would_compare_for_minutes_is_stopped() -> None:
    schema = {"properties": {"n": {"items": {"enum": list(range(10_000))}}}}
    started = time.thread_time()
    with pytest.raises(TemplateError) as refused:
        check_variables(a_template("x", schema=schema), {"n": [9999] * 10_000})
    assert refused.value.code == "template_too_slow"
    assert time.thread_time() - started < 1.5


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1/x"},
        {"properties": {"a": {"$ref": "#"}}},
        {"properties": {"a": {"pattern": "(a+)+$"}}},
        {"allOf": []},
        {"type": "text"},
        {"properties": []},
    ],
    ids=str,
)
def test_a_schema_that_reaches_out_or_runs_long_is_refused(schema: Mapping[str, Any]) -> None:
    with pytest.raises(TemplateError, match="metadata_schema"):
        check_template(a_template("x", schema=schema))


def test_the_events_own_facts_cannot_be_hidden_by_its_context() -> None:
    variables = build_variables(
        {"event": "forged", "recipient": "forged", "n": 1},
        event_id="e",
        event_type="gig.new",
        recipient={"user_id": "u", "locale": "en", "timezone": "UTC", "name": "Ann"},
    )
    made = render(a_template("{{ event.type }} {{ recipient.name }} {{ n }}"), {**variables, "name": ""})
    assert made.body == "gig.new Ann 1"


async def test_the_newest_version_in_the_nearest_language_is_found(
    notify_database: DatabaseAccess,
) -> None:
    """A change counts from the next look on."""

    async with open_pool(notify_database.conninfo("postgres"), name="test") as pool:
        book = TemplateBook(pool, default_locale="en")

        async def found(locale: str | None) -> str | None:
            await book.refresh()
            template = book.find("gig.new", "sms", locale)
            return template and template.body

        async with pool.connection() as connection:
            for body, locale in (("one", "en"), ("two", "en"), ("zwei", "de")):
                await connection.execute(
                    "select public.save_notification_template('gig.new', 'sms', %s, locale => %s)",
                    [body, locale],
                )
        assert [await found(locale) for locale in ("de-AT", "de", "fr", None, "DE-at")] == [
            "zwei",
            "zwei",
            "two",
            "two",
            "zwei",
        ]
        async with pool.connection() as connection:
            await connection.execute(
                "update public.notification_templates set is_active = false where body_template = 'two'"
            )
        assert await found("en") == "one"
        assert book.find("gig.new", "email", "en") is None
