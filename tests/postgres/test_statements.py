"""A file of SQL is cut where psql would cut it, however it is read."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pglast.parser import split

from basalt.postgres import statements
from basalt.postgres.statements import Statement, classify, split_statements

# Valid statements that hide semicolons, quotes and comment marks in every way PostgreSQL has.
TRICKY = (
    "select 1",
    "select 'it''s; -- not a comment'",
    r"select e'a\';b', E'\\', 'plain\'",
    'select 1 as "a;""b"',
    "select $$a;b$$, $x$ ; $$ ; $x$, $_1$;$_1$",
    "select /* ; /* nested; */ ' */ 1",
    "select 1 -- ; '\n, 2",
    "select a$b$ from t",
    "create rule r as on insert to t do also (insert into u values (1); delete from u)",
    "create function f() returns int language sql begin atomic; select case when true then 1 else 2 end; end",
    "create or replace /* ; */ procedure p() begin atomic insert into t values (';'); end",
    "do $body$ begin raise notice 'a;b'; end $body$",
    "insert into t values (1, 'é;😀'), (2, U&'d\\0061t;')",
    "select 1 - 2 / 3 * -4 from t where a <-> b > 0 and c->>'x;' = 'y' and d @> '{}'",
    "select '{\"a\": \"$x$\"}'::jsonb -> 'a'",
)


def read(text: str) -> list[Statement]:
    return list(split_statements(text))


@pytest.mark.req("P19")
@given(
    chosen=st.lists(st.sampled_from(TRICKY), min_size=1, max_size=6),
    gap=st.sampled_from([";", " ;\n", ";\n-- note; 'quote\n", "; /* a; /* b */ */\n\n"]),
)
def test_statements_are_cut_where_postgresqls_parser_cuts_them(chosen: list[str], gap: str) -> None:
    text = gap.join(chosen) + ";"

    found = [statement.text for statement in read(text)]

    assert found == chosen
    assert len(split(text)) == len(found)


@pytest.mark.req("P19")
@pytest.mark.parametrize("piece_chars", [1, 3, 17, 100])
def test_statements_do_not_depend_on_the_pieces_in_which_a_file_is_read(
    piece_chars: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = ";\n/* c; */ -- d;\n".join(TRICKY) + ";\ncopy t from stdin;\n1\t;\n\\N\t'\n\\.\n\nselect 2"
    whole = [(s.text, s.line, s.kind, s.leading) for s in read(text)]
    monkeypatch.setattr(statements, "PIECE_CHARS", piece_chars)

    pieces = [(s.text, s.line, s.kind, s.leading) for s in split_statements(io.StringIO(text))]

    assert pieces == whole
    assert [statement[0] for statement in whole] == [*TRICKY, "copy t from stdin", "select 2"]


@pytest.mark.req("P19")
def test_a_statement_knows_its_line_and_its_comments() -> None:
    first, second = read("\n-- about a\n/* more */ select 1;\r\n\r\n  select\n 'b\nc', x;\n-- end")[:2]

    assert (first.line, first.leading) == (3, "-- about a\n/* more */")
    assert (second.line, second.line_at(second.text.index("x") + 1)) == (5, 7)
    assert first.source == "-- about a\n/* more */\nselect 1"


@pytest.mark.req("P19")
def test_a_comment_at_the_end_is_kept_and_is_no_statement() -> None:
    assert [(s.kind, s.text, s.source) for s in read("select 1;\n-- done")] == [
        ("plain", "select 1", "select 1"),
        ("comment", "", "-- done"),
    ]


@pytest.mark.req("P19")
@pytest.mark.parametrize("text", ["", " \n\t", ";;\n;", "\ufeff".strip("\ufeff")])
def test_nothing_is_no_statement(text: str) -> None:
    assert read(text) == []


@pytest.mark.req("P19")
@pytest.mark.parametrize(
    "text", ["select 'open", 'select "open', "select $$ open; ", "select (1; select 2", "select 1; /* open"]
)
def test_what_is_never_closed_reaches_to_the_end_of_the_file(text: str) -> None:
    assert "".join(statement.text + statement.leading for statement in read(text)).endswith(text[-6:].strip())


@pytest.mark.req("P19")
def test_commands_to_psql_are_lines() -> None:
    found = [(s.kind, s.text) for s in read("\\restrict a;b'c\n\\connect db\nselect 1;\\echo x")]

    assert found == [
        ("psql", "\\restrict a;b'c"),
        ("psql", "\\connect db"),
        ("plain", "select 1"),
        ("psql", "\\echo x"),
    ]


@pytest.mark.req("P19")
def test_data_after_copy_is_no_sql() -> None:
    text = "copy public.t (a, b) from stdin with (format text);\n1\t'; select\n\\\\.\t$$\n\\.\nselect 1;"
    copy, after = split_statements(text), None

    first = next(copy)
    data = "".join(first.copy_lines or ())
    after = next(copy)

    assert (first.kind, data) == ("copy", "1\t'; select\n\\\\.\t$$\n")
    assert (after.text, after.line) == ("select 1", 5)


@pytest.mark.req("P19")
def test_copy_data_that_nobody_takes_is_passed_over() -> None:
    assert [s.text for s in read("copy t from stdin;\n1\n2\n\\.\ncopy u from stdin;\n\\.\nselect 3")] == [
        "copy t from stdin",
        "copy u from stdin",
        "select 3",
    ]


@pytest.mark.req("P19")
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("BEGIN", "begin"),
        ("begin isolation level serializable", "begin"),
        ("start  transaction", "begin"),
        ("commit work", "commit"),
        ("end", "commit"),
        ("rollback", "rollback"),
        ("rollback to savepoint a", "plain"),
        ("rollback work to a", "plain"),
        ("abort", "rollback"),
        ("savepoint a", "plain"),
        ("commit prepared 'x'", "standalone"),
        ("create index concurrently on t (a)", "standalone"),
        ("CREATE UNIQUE INDEX CONCURRENTLY if not exists i on t (a)", "standalone"),
        ("create index on t (a)", "plain"),
        ("drop /* slowly */ index concurrently i", "standalone"),
        ("reindex (verbose) table concurrently t", "standalone"),
        ("reindex table t", "plain"),
        ("refresh materialized view concurrently m", "plain"),
        ("vacuum analyze", "standalone"),
        ("alter system set a = 1", "standalone"),
        ("create database x", "standalone"),
        ("alter type t add value 'x'", "plain"),
        ("alter table t detach partition p concurrently", "standalone"),
        ("cluster", "standalone"),
        ("cluster t using i", "plain"),
        ("create extension if not exists a", "extension"),
        ("comment on extension a is 'b'", "extension"),
        ("comment on table extension is 'b'", "plain"),
        ("copy t (a) from STDIN", "copy"),
        ("copy t to stdout", "plain"),
        ("copy t from '/from stdin'", "plain"),
        ("insert into begin values (1)", "plain"),
    ],
)
def test_statements_are_told_apart(text: str, kind: str) -> None:
    assert classify(text) == kind
