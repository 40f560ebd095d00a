"""Requests as text that somebody might send: seeds that reach every corner of the grammar, and mutations of them.

A message is what `examine.parse_message` reads. Everything depends on the generator that is passed in, so that a seed
tells the whole run.
"""
# ruff: noqa: E501 (a table reads best with one row a line)

import re
from collections.abc import Callable, Sequence
from random import Random

ACCEPTED: tuple[bytes, ...] = (
    b"GET /films",
    b"GET /films?select=*",
    b"GET /films?select=id,title&id=eq.5&limit=10&offset=20&order=id.desc.nullslast,title",
    b"GET /films?select=name:title,data->a->>b,data->0->>n::int,price::text,tags->-1&data->a->>b=eq.x",
    b"GET /films?select=count(),sum:price.sum()::text,year.max(),rating&order=rating",
    b"GET /films?select=id,boss:directors!director_id!inner(name,born),awards!left(*)&boss.name=like.L*&awards.limit=2",
    b"GET /films?select=title,...directors!films_writer_id_fkey(writer:name),...awards(name)&awards.order=name.desc",
    b"GET /films?select=actors(name,roles(part)),films!sequel_to(title),mentor(name),details(notes)&actors.roles.part=eq.x",
    b"GET /films?select=id,awards(),directors!director_id()&awards=not.is.null&order=directors(name).asc,directors(born)",
    b"GET /directors?select=*,films!director_id(id,awards(count()))&films.awards.id=gt.1&films.order=year.desc",
    b"GET /films?or=(id.eq.1,and(year.gte.1920,not.or(title.ilike.*m*,data->>x.is.null)),tags.cs.{a,b})&not.and=(id.gt.1)",
    b'GET /films?title=in.("a,b",c,"d""e",f)&id=not.in.(1,2)&rating=in.()&or=(title.in.("x)y",z),id.in.(1,2))',
    b"GET /films?title=eq(any).{a,b}&year=gt(all).{1,2}&title=not.like(any).{a*,*b}&title=imatch.^m&title=match(all).{a}",
    b"GET /films?tags=cs.{a}&tags=cd.{a,b}&tags=ov.{c}&during=sl.[1,2)&during=sr.(1,2)&during=nxr.[1,2]&during=adj.(2,3)",
    b"GET /films?search=fts.cat&search=plfts(english).cat%20dog&title=wfts(simple).a&title=not.phfts.b&during=nxl.[1,9)",
    b"GET /films?year=is.null&is_silent=is.true&is_silent=not.is.unknown&rating=is.not_null&year=isdistinct.5",
    b"GET /films?colour=eq.red&select=colour,colour::text&colour=in.(red,blue)&colour=eq(any).{a}",
    b"GET /odd%20%22name?select=%22a%20b%22,na%C3%AFve,%22x%5C%22y%22,select,films(id)&%22a%20b%22=eq.1&order=%22x%5C%22y%22",
    b"GET /bare?select=*",
    b"GET /old_films?select=*,directors(name)&id=eq.1",
    b"HEAD /films?id=eq.1\nPrefer: count=exact",
    b"GET /films\nRange: 0-9\nRange-Unit: items\nPrefer: count=estimated",
    b"GET /films?limit=5\nRange: 3-\nPrefer: count=planned, handling=strict, timezone=Europe/Paris",
    b"GET /films?limit=0&offset=0",
    b"GET /films?offset=0",
    b"GET /films?id=eq.1\nAccept: application/vnd.pgrst.object+json;nulls=stripped",
    b"GET /films\nAccept: text/csv;q=0.8, application/geo+json;q=0.9, */*;q=0.1",
    b'GET /films\nAccept: application/vnd.pgrst.plan+json; for="text/csv"; options=analyze|verbose|wal',
    b"GET /films?select=*\nAccept: text/html, image/png",
    b"GET /notes\nAccept-Profile: other",
    b"POST /notes\nContent-Profile: other\nPrefer: return=representation\n\n[{\"id\": 1, \"body\": null}]",
    b'POST /films\nContent-Type: application/json\n\n{"title": "M", "year": 1931}',
    b'POST /films?select=id,awards(*)&on_conflict=title,id\nPrefer: resolution=merge-duplicates, return=representation\n\n[{"id":1}]',
    b"POST /films?columns=id,title\nPrefer: missing=default, resolution=ignore-duplicates, tx=rollback\n\n[{}, {\"id\": 2}]",
    b"POST /films\nPrefer: return=headers-only\nContent-Type: text/csv\n\nid,title\n1,\"a \"\"b\"\"\"\n2,NULL",
    b"POST /films\nContent-Type: application/x-www-form-urlencoded\n\ntitle=a+b&year=1931",
    b"POST /odd%20%22name\nPrefer: return=headers-only\n\n{\"x\\\"y\": 1, \"back\\\\slash\": \"a\"}",
    b"POST /bare\nPrefer: return=representation\n\n{}",
    b'PATCH /films?id=eq.1&title=like.a*\nPrefer: return=representation, max-affected=5, handling=strict\n\n{"colour": "red"}',
    b"PATCH /films?or=(id.eq.1,id.eq.2)\nPrefer: missing=default, count=exact\n\n{\"data\": {\"a\": [1]}}",
    b'PUT /films?id=eq.1\nPrefer: return=representation\n\n{"id": 1, "title": "x"}',
    b"PUT /roles?film_id=eq.1&actor_id=eq.2\n\n[{\"film_id\":1,\"actor_id\":2,\"part\":null}]",
    b"DELETE /films?id=in.(1,2)&select=id\nPrefer: return=representation, max-affected=1, handling=strict",
    b"OPTIONS /films",
    b"OPTIONS /rpc/touch",
    b"GET /",
    b"GET /rpc/add?a=1&b=2",
    b"GET /rpc/films_of?p_year=1927&select=id,awards(name)&title=eq.M&order=id&limit=1\nPrefer: count=exact",
    b"GET /rpc/total?numbers=1&numbers=2",
    b"GET /rpc/names?odd%20arg=101&names=like.a*\nAccept: application/vnd.pgrst.object+json",
    b"HEAD /rpc/pairs?select=a&a=eq.1",
    b'POST /rpc/add?select=x\n\n{"a": 1, "b": 2}',
    b"POST /rpc/echo\n\n[1, {\"a\": null}]",
    b"POST /rpc/shout\nContent-Type: text/plain\n\nhello",
    b"POST /rpc/digest\nContent-Type: application/octet-stream\n\n\x00\xff",
    b"POST /rpc/document\nContent-Type: text/xml\n\n<a/>",
    b"POST /rpc/total\nContent-Type: application/x-www-form-urlencoded\n\nnumbers=1&numbers=2",
    b'POST /rpc/basalt_bulk_update/films?select=id&year=gt.1900\nPrefer: return=representation\n\n[{"id": 1, "title": "a"}]',
    b'POST /rpc/basalt_bulk_update/roles?columns=film_id,actor_id,part\n\n[{"film_id": 1, "actor_id": 1, "part": "x"}]',
    b'POST /rpc/basalt_batch\n\n[{"path": "/films?id=eq.1"}, {"method": "POST", "path": "/awards", "body": {"id": 1},'
    b' "headers": {"prefer": "return=representation"}, "refs": {"/body/film_id": "/0/body/0/id"}}]',
    b"GET /films?or=(id.in.(1,2),title.in.(a,b),data->a->>b.eq.x,not.and(year.gt.1,year.lt.2))&id=not.in.(3)",
    b"GET /films?select=title,films!films_sequel_to_fkey(title),...directors!writer_id(name,born.max()),count()",
    b"GET /films?select=rating,awards(name),...details(notes),price.avg()&details.notes=like.*a*&order=rating",
    b"GET /actors?select=name,...roles(part,...films(title,...directors!director_id(name)))&roles.order=part.desc",
    b"POST /rpc/touch\nPrefer: tx=rollback, params=single-object, wait=5\n\n{}",
    b"POST /rpc/one_film?select=title,directors!director_id(name)\nAccept: text/csv\n\n{\"p_id\": 1}",
)  # fmt: skip

REFUSED: tuple[bytes, ...] = (
    b"GET /films?limit=0&offset=5",
    b"OPTIONS /rpc/add",
    b'POST /rpc/twice\n\n{"a": 1}',
    b"GET /films?select=directors(name)",
    b'POST /films\n\n[{"id": 1}, {"title": 2}]',
    b"PUT /films?title=eq.a\n\n{}",
    b"GET /films?select=id&awards.id=eq.1",
    b"GET /films\nPrefer: handling=strict, anything=all",
    b"GET /films?or=(id.eq.1",
    b"GET /films?select=films!actors(id)",
    b"POST /rpc/basalt_bulk_update/bare\n\n[{}]",
    b'POST /rpc/basalt_bulk_update/films\n\n[{"title": "a"}]',
    b"GET /rpc/basalt_batch",
    b'POST /rpc/basalt_batch\n\n[{"path": "films"}]',
    b"GET /films/1",
)
SEEDS = (*ACCEPTED, *REFUSED)

WORDS: tuple[bytes, ...] = (
    *b"id title year price rating tags data raw search during made_at is_silent colour director_id writer_id films".split(),
    *b"directors actors roles awards details old_films mentor name part notes bare nothing pgrst_scalar *".split(),
    *b"eq neq gt gte lt lte like ilike match imatch cs cd ov sl sr nxr nxl adj in is isdistinct fts plfts wfts".split(),
    *b"eq(any) like(all) fts(english) not and or not.and not.or any all null true unknown asc desc nullsfirst".split(),
    *b"nullslast inner left sum() count() avg() max() min() select order limit offset columns on_conflict".split(),
    *b". , ( ) { } [ ] : :: -> ->> ! ... & = ? ; / % + \" \\ ' * - _ $ $1 0 1 -1 2 9223372036854775807 1e5 0x10 1a".split(),
    *b"%00 %ff %20 %22 %5C %2C %28 %29 %0A %E2%82%AC %F0%9F%8E%AC %C0%80 %ED%A0%80 \xff \xc3\xa9 \x01 \x7f --  /* */".split(),
    *b"text int double precision character varying(3) timestamp with time zone int[] _int4 na\xc3\xafve".split(),
    b'"a b"', b'"x\\"y"', b"'; drop table films; --", b"pg_sleep(9)", b"in.(1,2)", b"is.null", b"not.is.null", b" ", b"\t",
    b"and=(id.eq.1,title.eq.a)", b"select=*", b"&limit=1", b"&order=id", b"&id=eq.1", b"&or=(id.eq.1)", b"(*)", b"()",
)  # fmt: skip
HEADERS: tuple[bytes, ...] = (
    b"Prefer: count=exact", b"Prefer: count=planned", b"Prefer: count=estimated", b"Prefer: return=representation",
    b"Prefer: return=minimal", b"Prefer: return=headers-only", b"Prefer: resolution=merge-duplicates",
    b"Prefer: missing=default", b"Prefer: handling=strict", b"Prefer: handling=lenient, max-affected=3",
    b"Prefer: tx=rollback", b"Prefer: timezone=\xff'", b"Prefer: max-affected=-0", b"Prefer: a=b, c=\"d", b"Range: 0-9",
    b"Range: 5-", b"Range: 9-0", b"Range: bytes=0-99999999999999999999", b"Range: 99999999999999999999-", b"Range: -5",
    b"Accept: */*", b"Accept: text/csv", b"Accept: application/vnd.pgrst.object+json",
    b"Accept: application/vnd.pgrst.array+json;nulls=stripped", b"Accept: application/vnd.pgrst.plan+text; options=wal",
    b'Accept: application/vnd.pgrst.plan; for="application/vnd.pgrst.plan; for=text/csv"', b"Accept: a/b;q=1e9,;q=,,",
    b"Accept: application/octet-stream", b"Accept: \xff/\xff", b"Accept-Profile: other", b"Accept-Profile: public",
    b"Accept-Profile: pg_catalog", b"Content-Profile: other", b"Content-Type: text/csv", b"Content-Type: application/json",
    b"Content-Type: application/x-www-form-urlencoded", b"Content-Type: text/plain; charset=latin-1",
    b"Content-Type: application/octet-stream", b"Content-Type: ", b"Cookie: a=1; b; =c; d=\xff", b"X-Odd: \xff\xfe",
)  # fmt: skip
METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"get", b"\xff", b"")
BODIES: tuple[bytes, ...] = (
    b"", b"{}", b"[]", b"[{}]", b"null", b"1", b'"a"', b'{"id": 1}', b'[{"id": 1}, {"id": 2}]', b'[{"id": 1}, {"title": 2}]',
    b'{"id": 1e999}', b'{"a\\u0000": 1}', b'{"\\ud800": 1}', b"[" * 2000, b'{"a":' * 1500 + b"1" + b"}" * 1500, b"\xef\xbb\xbf{}",
    b"id,title\n1,a\n", b'id,"title\n', b"id;title\r\n1;a", b"id,id\n1,2", b",\n,", b"a=1&a=2&b", b"%ff=%00", b"\x00", b"\xff\xfe",
    b"NaN", b'{"id": 1, "id": 2}', b"<a>",
)  # fmt: skip
TOKEN = re.compile(rb"%[0-9A-Fa-f]{2}|[A-Za-z0-9_]+|->>|::|.", re.DOTALL)
MAX_BYTES = 200_000
LARGEST_PIECE = 30_000
EMBEDS = (
    b"awards",
    b"directors!director_id",
    b"films!sequel_to",
    b"actors",
    b"roles",
    b"details",
    b"mentor",
    b"films",
)

Edit = Callable[[bytes, Random, Sequence[bytes]], bytes]


def mutate(message: bytes, random: Random, others: Sequence[bytes] = SEEDS) -> bytes:
    """A few small changes; once in a while one that makes it large."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 5))):
        message = random.choice(EDITS)(message, random, others)
    if random.random() < 0.003:
        message = _blow_up(message, random)
    return message[:MAX_BYTES]


def _edit_tokens(message: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    tokens = TOKEN.findall(message)
    at, word = random.randint(0, len(tokens)), random.choice(WORDS)
    match random.randrange(6):
        case 0:
            tokens[at:at] = [word]
        case 1:
            tokens[at : at + 1] = [word]
        case 2:
            del tokens[at : at + random.choice((1, 1, 2, 5))]
        case 3:
            tokens[at:at] = tokens[at : at + random.randint(1, 12)]
        case 4 if len(tokens) > 1:
            one, other = random.randrange(len(tokens)), random.randrange(len(tokens))
            tokens[one], tokens[other] = tokens[other], tokens[one]
        case _:
            opening, closing = random.choice(
                ((b"(", b")"), (b"and(", b")"), (b'"', b'"'), (b"{", b"}"), (b"a(", b")"))
            )
            tokens[at:at] = [opening]
            end = random.randint(at, len(tokens))
            tokens[end:end] = [closing]
    return b"".join(tokens)


def _edit_bytes(message: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    at = random.randint(0, len(message))
    byte = bytes([random.randrange(256)])
    match random.randrange(4):
        case 0:
            return message[:at] + byte + message[at:]
        case 1:
            return message[:at] + byte + message[at + 1 :]
        case 2 if at < len(message):
            return message[:at] + b"%%%02X" % message[at] + message[at + 1 :]
        case _:
            return message[:at] + message[at + random.randint(1, 8) :]


def _splice(message: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    mine, theirs = TOKEN.findall(message), TOKEN.findall(random.choice(others))
    at, start = random.randint(0, len(mine)), random.randint(0, len(theirs))
    taken = theirs[start : start + random.randint(1, 20)]
    return b"".join([*mine[:at], *taken, *mine[at + random.choice((0, 0, len(taken))) :]])


def _add_parameter(message: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """Another request's parameter in this one's query string."""
    queries = [part for other in others[:200] if (part := _query_of(other))]
    parameter = random.choice(random.choice(queries).split(b"&"))
    first, newline, rest = message.partition(b"\n")
    return first + (b"&" if b"?" in first else b"?") + parameter + newline + rest


def _query_of(message: bytes) -> bytes:
    return message.partition(b"\n")[0].partition(b"?")[2]


def _add_header(message: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    first, newline, rest = message.partition(b"\n")
    return first + b"\n" + random.choice(HEADERS) + (newline or b"\n") + rest


def _change_method(message: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    return random.choice(METHODS) + b" " + message.partition(b" ")[2]


def _change_body(message: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    head = message.partition(b"\n\n")[0]
    return head + b"\n\n" + random.choice(BODIES)


def _change_numbers(message: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """The same shape with other values."""
    return re.sub(
        rb"(?<![A-Za-z0-9_%$])[0-9]+", lambda _: b"%d" % random.choice((0, 1, 7, 42, 10**18)), message
    )


def _blow_up(message: bytes, random: Random) -> bytes:
    """Something many times, or many levels deep."""
    count = random.choice((10, 33, 100, 1000, 5000))
    if random.random() < 0.3:
        depth = min(count, 40)
        embed = random.choice(EMBEDS)
        return (
            b"GET /films?select="
            + (embed + b"(*,") * depth
            + b"id"
            + b")" * depth
            + b"&"
            + _query_of(message)
        )
    tokens = TOKEN.findall(message)
    at = random.randint(0, len(tokens))
    piece = b"".join(tokens[at : at + random.randint(1, 6)])
    return b"".join([*tokens[:at], (piece * count)[:LARGEST_PIECE], *tokens[at:]])


EDITS: tuple[Edit, ...] = (
    *[_edit_tokens] * 8, *[_edit_bytes] * 3, *[_splice] * 3, *[_add_parameter] * 4, *[_add_header] * 3, _change_method,
    _change_body, *[_change_numbers] * 2,
)  # fmt: skip
