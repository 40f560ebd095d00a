"""Message templates: what they understand of Go's language, as Go 1.27 renders it, and how values are made harmless."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basalt.auth.plain_text import to_plain_text
from basalt.auth.templates import TemplateError, parse_template

pytestmark = pytest.mark.req("P6")

DATA: dict[str, Any] = {
    "Token": "123456",
    "SiteURL": "https://app.example.com",
    "Email": "ada+x@example.com",
    "TokenHash": "pkce_ab=c",
    "RedirectTo": "https://app.example.com/a b?c=d&e=f#g",
    "Data": {
        "name": '<b>Ada O\'Neil & "co"</b>',
        "js": "javascript:alert(1)",
        "n": 5,
        "f": 1.5,
        "ok": True,
        "no": False,
        "nil": None,
        "list": ["a", "b", 3],
        "empty": [],
        "m": {"b": 1, "a": "x"},
        "s": "",
        "nest": {"deep": {"v": "D"}},
        "uni": "é漢",
        "color": "#ff0000",
        "css": "red; background:url(x)",
    },
}
NAME = "&lt;b&gt;Ada O&#39;Neil &amp; &#34;co&#34;&lt;/b&gt;"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ .Token }}|{{.Token}}|{{ .Missing }}|{{ .Data.nope.deeper }}", "123456|123456||"),
        ("a  {{- .Token -}}  b {{- /* c */ -}}  d {{/* e */}}f", "a123456bd f"),
        ("{{ .Data.ok }} {{ .Data.f }} {{ .Data.nil }}{{ .Data.list }} {{ .Data.m }}", "true 1.5 [a b 3] map[a:x b:1]"),
        ('{{ if eq .Data.n "x" }}1{{ else if .Data.ok }}2{{ else }}3{{ end }}', "2"),
        ("{{ if and .Data.ok (not .Data.no) }}y{{ end }}{{ if or .Data.s .Data.nil .Token }}z{{ end }}", "yz"),
        ('{{ and 1 0 2 }} {{ or 0 "" "x" }} {{ not nil }}', "0 x true"),
        ("{{ with .Data.nest.deep }}{{ .v }}{{ $.Token }}{{ else }}none{{ end }}", "D123456"),
        ("{{ with .Data.s }}a{{ else with .Data.n }}b{{ . }}{{ else }}c{{ end }}", "b5"),
        ("{{ range .Data.list }}[{{ . }}]{{ else }}x{{ end }}{{ range .Data.empty }}x{{ else }}none{{ end }}", "[a][b][3]none"),
        ("{{ range $i, $v := .Data.list }}{{ $i }}={{ $v }};{{ end }}", "0=a;1=b;2=3;"),
        ("{{ range $k, $v := .Data.m }}{{ $k }}={{ $v }};{{ end }}{{ range 3 }}{{ . }}{{ end }}", "a=x;b=1;012"),
        ('{{ $x := .Token }}{{ if .Data.ok }}{{ $x = "changed" }}{{ end }}{{ $x }}', "changed"),
        ("{{ $x := 1 }}{{ with .Data }}{{ $x }}{{ end }}{{ $x := 2 }}{{ $x }}", "12"),
        ("{{ with $x := .Data.n }}{{ $x }}{{ end }} {{ if $y := .Token }}{{ $y }}{{ end }}", "5 123456"),
        ('{{ printf "%s-%q-%v-%5s|%-5s|%05d|%t|%%|%x" .Token .Email .Data.ok "ab" "cd" 42 true "hi" }}',
         '123456-"ada+x@example.com"-true-   ab|cd   |00042|true|%|6869'),
        ('{{ printf "%d" "x" }} {{ printf "%s" 5 }} {{ printf "%d %d" 1 }} {{ printf "a" 1 }} {{ printf "%s" nil }}',
         "%!d(string=x) %!s(int=5) 1 %!d(MISSING) a%!(EXTRA int=1) %!s(<nil>)"),
        ('{{ printf "%.2f|%+d|%.2s|%6.2f|%e|%g|%X|%5d|%-5d|" 1.239 3 "abc" 3.14159 1234.5 2.50 255 3 4 }}',
         "1.24|+3|ab|  3.14|1.234500e+03|2.5|FF|    3|4    |"),
        ('{{ len .Data.list }} {{ len .Data.m }} {{ len .Data.uni }} {{ index .Data.list 1 }} {{ index .Data.m "a" }}', "3 2 5 b x"),
        ('{{ print 1 2 "a" "b" 3 }} {{ print .Token .Data.n }} {{ println "a" 1 }}', "1 2ab3 1234565 a 1\n"),
        ("{{ urlquery .Email }} {{ .RedirectTo | urlquery }}",
         "ada%2Bx%40example.com https%3A%2F%2Fapp.example.com%2Fa+b%3Fc%3Dd%26e%3Df%23g"),
        ("{{ .Data.name | html }} {{ js .Data.name }}",
         NAME + " \\u003Cb\\u003EAda O\\'Neil \\u0026 \\\"co\\\"\\u003C/b\\u003E"),
        ('{{ eq 1 1 }} {{ eq 1 2 3 1 }} {{ ne "a" "b" }} {{ lt 1 2 }} {{ le 2 2 }} {{ gt "b" "a" }} {{ ge 1 2 }}',
         "true true true true true true false"),
        ('{{ eq .Missing "x" }} {{ eq .Missing nil }} {{ ne .Missing "" }}', "false true true"),
        ('{{ (index .Data.m "a") | printf "%s!" }} {{ "q\\"u\\n" }}{{ `raw \\n` }} {{ 0x1F }} {{ -3 }} {{ true }}',
         'x! q"u\nraw \\n 31 -3 true'),
        ('{{ slice "abcdef" 1 3 }} {{ slice .Token 2 }} {{ .Token | printf "%q" | len }}', "bc 3456 8"),
        ('{{ if gt (len .Data.list) 2 }}many{{ end }}{{ (index .Data "nest").deep.v }}', "manyD"),
        ("{{\n  if\n  .Data.ok\n}}multi{{ end\n}}", "multi"),
    ],
)  # fmt: skip
def test_templates_render_as_in_go(source: str, text: str) -> None:
    assert parse_template(source).render(DATA) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ('{{ eq .Data.n "5" }}{{ lt .Missing 5 }}{{ len .Data.n }}{{ index .Data.list 9 }}', "falsefalse0"),
        ("{{ .Token.x }}{{ .Data.list.x }}{{ range .Token }}x{{ end }}{{ slice .Data.n 1 }}", ""),
    ],
)
def test_what_users_wrote_about_themselves_breaks_no_template(source: str, text: str) -> None:
    """Each of these is an error in Go, and its mail is not sent."""
    assert parse_template(source).render(DATA) == text


@pytest.mark.parametrize(
    ("source", "html"),
    [
        ("{{ .Data.name }} <title>{{ .Data.name }}</title>", f"{NAME} <title>{NAME}</title>"),
        ('<p title="{{ .Data.name }}" id={{ .Data.list }} data-x={{ .Data.s }}>',
         f'<p title="{NAME}" id=[a&#32;b&#32;3] data-x=ZgotmplZ>'),
        ('<a href="{{ .Data.js }}"><a HREF=\'{{ .Data.js }}\'><a href={{ .Data.js }}><img src=" {{ .Data.js }}">',
         "<a href=\"#ZgotmplZ\"><a HREF='#ZgotmplZ'><a href=#ZgotmplZ><img src=\" #ZgotmplZ\">"),
        ('<form action="{{ .Data.js }}"><td background="{{ .Data.js }}"><x data-url="{{ .Data.js }}">',
         '<form action="#ZgotmplZ"><td background="#ZgotmplZ"><x data-url="#ZgotmplZ">'),
        ('<a href="{{ .SiteURL }}/confirm?token_hash={{ .TokenHash }}&type=email&next={{ .RedirectTo }}">',
         '<a href="https://app.example.com/confirm?token_hash=pkce_ab%3Dc&type=email'
         '&next=https%3A%2F%2Fapp.example.com%2Fa%20b%3Fc%3Dd%26e%3Df%23g">'),
        ('<a href="https://x/{{ .RedirectTo }}">', '<a href="https://x/https://app.example.com/a%20b?c=d&amp;e=f#g">'),
        ('<a href="https://x/?e={{ .Email | urlquery }}&amp;f={{ urlquery .Email }}">',
         '<a href="https://x/?e=ada%2Bx%40example.com&amp;f=ada%2Bx%40example.com">'),
        ('<a href="{{ if .Data.ok }}{{ .SiteURL }}{{ else }}https://x/{{ end }}/path">',
         '<a href="https://app.example.com/path">'),
        ('<p style="color: {{ .Data.color }}"><p style="color: {{ .Data.css }}">',
         '<p style="color: #ff0000"><p style="color: ZgotmplZ">'),
        ("<style>p { color: {{ .Data.css }} }</style>{{ .Data.name }}", f"<style>p {{ color: ZgotmplZ }}</style>{NAME}"),
        ('<option {{ if .Data.ok }}selected{{ end }}>a</option><p{{ if .Data.ok }} class="a"{{ end }}>b</p>',
         '<option selected>a</option><p class="a">b</p>'),
        ("<ul>{{ range .Data.list }}<li>{{ . }}</li>{{ end }}</ul>", "<ul><li>a</li><li>b</li><li>3</li></ul>"),
        ("<!-- note {{ .Data.name }} -->x", "<!-- note  -->x"),
        ('<!--[if mso]><v:rect href="{{ .Data.js }}"><![endif]-->{{ .Data.name }}',
         f'<!--[if mso]><v:rect href="#ZgotmplZ"><![endif]-->{NAME}'),
        ('<a title="{{ .Data.name | html }}">{{ .Data.name | html }}</a>', f'<a title="{NAME}">{NAME}</a>'),
        ("1 < 2 {{ .Data.name }}", f"1 < 2 {NAME}"),
    ],
)  # fmt: skip
def test_values_are_harmless_wherever_they_stand(source: str, html: str) -> None:
    assert parse_template(source, as_html=True).render(DATA) == html


@pytest.mark.parametrize(
    "source",
    [
        "{{ .Token",
        '{{ "unclosed }}',
        "{{ end }}",
        "{{ else }}",
        "{{ end x }}",
        "{{ if .A }}",
        "{{ if }}x{{ end }}",
        "{{ if .A }}{{ else }}{{ else }}{{ end }}",
        "{{ if .A }}{{ else what }}{{ end }}",
        "{{ range $a, $b, $c := .X }}{{ end }}",
        "{{ Token }}",
        "{{ }}",
        "{{ foo .A }}",
        "{{ .A.}}",
        "{{ .A | }}",
        "{{ .A | .B }}",
        "{{ .Token 1 }}",
        "{{ (.A }}",
        "{{ .A) }}",
        "{{ $u }}",
        "{{ $u = 1 }}",
        "{{ $ := 1 }}",
        "{{ if true }}{{ $z := 1 }}{{ end }}{{ $z }}",
        "{{ eq 1 }}",
        "{{ not }}",
        "{{ len .A .B }}",
        "{{ printf .Token }}",
        '{{ printf "%y" 1 }}',
        '{{ printf "%*d" 1 2 }}',
        '{{ template "x" }}',
        '{{ define "x" }}{{ end }}',
        "{{ break }}",
        "{{ 12abc }}",
        "{{ 'c' }}",
        "{{ a ? b }}",
        "{{ if .A }}" * 100 + "{{ end }}" * 100,
        "{{ " + "(" * 100 + ".A" + ")" * 100 + " }}",
        "x" * 500_001,
    ],
)
def test_what_is_not_understood_is_refused_when_it_is_parsed(source: str) -> None:
    with pytest.raises(TemplateError):
        parse_template(source)


@pytest.mark.parametrize(
    ("source", "line", "reason"),
    [
        ("a\nb {{ foo }}", 2, "no function `foo`"),
        ("a\n\n{{ if .A }}\nx", 3, "has no `end`"),
        ("{{/* two\nlines */}}\n{{ .A ? }}", 3, "not understood"),
        ("<p>\n<script>\nvar a = {{ .A }}</script>", 3, "in a script"),
        ('<p>\n<a onclick="{{ .A }}">', 2, "in a script"),
        ("\n<{{ .A }}>", 2, "attribute"),
        ("\n<a {{ .A }}=x>", 2, "attribute"),
        ("\n<a data-{{ .A }}=x>", 2, "attribute"),
        ('\n\n<b {{ if .A }}x="{{ end }}>', 3, "different places"),
        ('<a href="{{ if .A }}https://x/?a={{ .B }}{{ else }}https://y/{{ end }}\n{{ .C }}">', 2, "part of the URL"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(source: str, line: int, reason: str) -> None:
    with pytest.raises(TemplateError, match=reason) as caught:
        parse_template(source, as_html=True)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"line {line}: ")


@pytest.mark.parametrize(
    "source",
    [
        "{{ range .L }}{{ range $.L }}{{ range $.L }}{{ . }}{{ end }}{{ end }}{{ end }}",
        "{{ range 1000000000 }}{{ end }}",
        "{{ range .L }}{{ $.Long }}{{ end }}",
        '{{ $x := "x" }}{{ range 1000 }}{{ $x = print $x $x }}{{ end }}',
        '{{ $x := "x" }}{{ range 1000 }}{{ $x = printf "%s%s" $x $x }}{{ end }}',
    ],
)
def test_rendering_ends_whatever_it_is_given(source: str) -> None:
    started = time.monotonic()
    with pytest.raises(TemplateError):
        parse_template(source).render({"L": list(range(1000)), "Long": "x" * 10_000})
    assert time.monotonic() - started < 5


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
EVERYTHING = parse_template(
    '{{ .A }}{{ len .A }}{{ index .A 0 }}{{ index .A "a" }}{{ slice .A 1 2 }}{{ eq .A .B }}{{ lt .A .B }}'
    '{{ ge .A .B }}{{ print .A .B }}{{ println .A }}{{ printf "%v%s%d%q%t%f%e%g%x%X%5v" .A .A .A .A .A .A .A .A .A .A .A }}'
    "{{ js .A }}{{ html .A }}{{ urlquery .A }}{{ range .A }}{{ . }}{{ end }}{{ with .A }}{{ .b.c }}{{ end }}"
)
HOSTILE = parse_template(
    '<p title="{{ .A }}" id={{ .A }} style="{{ .A }}"><a href="{{ .A }}">{{ .A }}</a><a href="/x?{{ .A }}">',
    as_html=True,
)


@given(json, json)
def test_functions_take_any_json(one: object, other: object) -> None:
    if not isinstance(one, int) or abs(one) < 5_000:
        EVERYTHING.render({"A": one, "B": other})


@given(st.text(max_size=40))
def test_no_text_opens_a_tag_or_leaves_its_attribute(text: str) -> None:
    html = HOSTILE.render({"A": text})
    assert html.count("<") == 4
    assert html.count('"') == 8
    assert html.count(">") == 4
    assert "javascript:" not in html.partition('href="')[2].partition('"')[0].lower()


@given(st.text(alphabet="{}<>.-/*\"'`$()|:= \nabifend", max_size=60))
def test_any_source_is_parsed_or_refused(source: str) -> None:
    try:
        parse_template(source, as_html=True).render({"a": "x"})
    except TemplateError:
        return


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<h1>Hello</h1>\n<p>One\n  two<br>three</p>", "Hello\n\nOne two\nthree\n"),
        ('<a href="https://x/?a=1&amp;b=2">Confirm</a>', "Confirm (https://x/?a=1&b=2)\n"),
        ('<a href="https://x/">https://x/</a> <a href="#top">up</a>', "https://x/ up\n"),
        ("<ul><li>one</li><li>two</li></ul>", "- one\n- two\n"),
        ("<head><title>t</title><style>p{}</style></head><body>x</body>", "x\n"),
        ('<div style="display:none">preview <b>line</b></div><p>shown &amp; so on</p>', "shown & so on\n"),
        ('<img src="x" alt="Logo"><p>a</p>', "Logo\n\na\n"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc\n"),
        ("<p>unclosed <b>tag</p></i>", "unclosed tag\n"),
    ],
)
def test_html_is_read_as_plain_text(html: str, text: str) -> None:
    assert to_plain_text(html) == text
