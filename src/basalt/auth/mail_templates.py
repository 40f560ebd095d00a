"""The mails of a project: `[auth.email.template.NAME]`, `[auth.email.notification.NAME]`, variants by language, and
our own words where the project has none.

All are read and parsed when Auth is built, so that a mistake stops the start and not the first mail. Where no server
sends mails, in development, a file that has changed is read again when its mail is next needed.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from basalt import observe
from basalt.auth.default_mails import MAILS, NOTICES, MailKind, NoticeKind, Words
from basalt.auth.plain_text import to_plain_text
from basalt.auth.templates import Template, TemplateError, parse_template
from basalt.config import AuthSettings, ConfigError, MailTemplateSettings, NotificationSettings, Problem

LANGUAGE_KEYS: Final = ("language", "lang", "locale")
LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*")
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")

Section = MailTemplateSettings | NotificationSettings


@dataclass(frozen=True, slots=True)
class RenderedMail:
    subject: str
    html: str
    text: str


@dataclass(frozen=True, slots=True)
class MailTemplate:
    """`text` is None where the HTML is the project's own; the text is then made from it."""

    subject: Template
    html: Template
    text: Template | None

    def render(self, values: Mapping[str, Any]) -> RenderedMail:
        """Raises TemplateError when what a user wrote makes the mail too large."""
        html = self.html.render(values)
        return RenderedMail(
            # A line break in a subject would start a header of its own; user metadata may hold one.
            " ".join(CONTROL.sub(" ", self.subject.render(values)).split()),
            html,
            self.text.render(values) if self.text is not None else to_plain_text(html),
        )


@dataclass(slots=True)
class _Entry:
    """A mail in one language. `stamp` tells whether its file is still the one that was read."""

    key: str
    template: MailTemplate
    file: Path | None
    stamp: tuple[int, int] | None


class MailTemplates:
    """Raises ConfigError for templates that cannot be read or understood, all of them at once."""

    def __init__(self, settings: AuthSettings, project_dir: Path) -> None:
        self._project_dir = project_dir
        self._config_file = project_dir / "supabase" / "config.toml"
        self._reloads = not (settings.email.smtp.enabled and settings.email.smtp.host)
        self._problems: list[Problem] = []
        self._mails = self._read_all("template", MAILS, settings.email.template)
        enabled = {name: section for name, section in settings.email.notification.items() if section.enabled}
        self._notices = self._read_all("notification", NOTICES, enabled)
        self._enabled = frozenset(name.partition(".")[0] for name in enabled)
        if self._problems:
            raise ConfigError(self._problems)

    def find(self, kind: MailKind, metadata: Mapping[str, Any]) -> MailTemplate:
        """The mail in the language that a user's metadata name, else the plain one."""
        return self._current(_choose(self._mails, kind, metadata))

    def find_notice(self, kind: NoticeKind, metadata: Mapping[str, Any]) -> MailTemplate | None:
        """None where the project does not want such notices."""
        return self._current(_choose(self._notices, kind, metadata)) if kind in self._enabled else None

    def _read_all(
        self, table: str, defaults: Mapping[Any, Words], sections: Mapping[str, Section]
    ) -> dict[str, _Entry]:
        """By `NAME` or `NAME.language`, in lower case. What a variant leaves out comes from the plain mail."""
        entries: dict[str, _Entry] = {}
        for name, words in defaults.items():
            plain = sections.get(name) or MailTemplateSettings()
            self._add(entries, f"auth.email.{table}.{name}", name, plain, words, None)
        for name, section in sections.items():
            base, dot, language = name.partition(".")
            if base not in defaults:
                observe.event("unknown_mail", level="warning", key=f"auth.email.{table}.{name}")
            elif dot:
                key = f'auth.email.{table}."{name}"'
                place = f"{base}.{language.lower().replace('_', '-')}"
                self._add(entries, key, place, section, None, entries.get(base))
        return entries

    def _add(
        self,
        entries: dict[str, _Entry],
        key: str,
        place: str,
        section: Section,
        words: Words | None,
        plain: _Entry | None,
    ) -> None:
        try:
            entries[place] = self._read(key, section, words, plain)
        except _MistakeError as mistake:
            self._problems.append(mistake.problem)
            if words is not None:  # variants are read all the same, for their own mistakes
                entries[place] = self._read(key, MailTemplateSettings(), words, None)

    def _read(self, key: str, section: Section, words: Words | None, plain: _Entry | None) -> _Entry:
        """What the section leaves out comes from `words`, or for a variant from the `plain` mail. Raises
        _MistakeError."""
        default = plain.template if plain is not None else _parse_words(words or ("", "", ""))
        subject, html, text = default.subject, default.html, default.text
        if section.subject is not None:
            subject = self._parse(section.subject, key, "subject", self._config_file)
        if section.content is not None and section.content_path is not None:
            raise _MistakeError(
                self._config_file, f"{key}.content", "there is a content_path too; give one of them"
            )
        file, stamp = (plain.file, plain.stamp) if plain is not None else (None, None)
        if section.content_path is not None:
            file = self._locate(section.content_path, f"{key}.content_path")
            stamp = _stamp(file)
            html, text = self._parse(_read_file(file, key), key, "content_path", file, as_html=True), None
        elif section.content is not None:
            html, text = self._parse(section.content, key, "content", self._config_file, as_html=True), None
            file = None
        return _Entry(key, MailTemplate(subject, html, text), file, stamp)

    def _parse(self, source: str, key: str, name: str, file: Path, *, as_html: bool = False) -> Template:
        try:
            return parse_template(source, as_html=as_html)
        except TemplateError as exc:
            raise _MistakeError(file, f"{key}.{name}", str(exc)) from exc

    def _locate(self, path: str, key: str) -> Path:
        """`./supabase/templates/x.html` and `./templates/x.html` both occur in the Supabase CLI's own examples."""
        for folder in (self._project_dir, self._project_dir / "supabase"):
            if (folder / path).is_file():
                return folder / path
        raise _MistakeError(
            self._config_file,
            key,
            f"there is no file {path}, neither in the project nor in its supabase folder",
        )

    def _current(self, entry: _Entry) -> MailTemplate:
        """The template as its file is now; the last good one while the file is missing or broken."""
        if not self._reloads or entry.file is None or (stamp := _stamp(entry.file)) == entry.stamp:
            return entry.template
        entry.stamp = stamp
        try:
            html = self._parse(
                _read_file(entry.file, entry.key), entry.key, "content_path", entry.file, as_html=True
            )
        except _MistakeError as mistake:
            observe.event("mail_template_broken", level="error", reason=str(mistake.problem))
        else:
            entry.template = MailTemplate(entry.template.subject, html, None)
            observe.event("mail_template_read", key=entry.key, file=str(entry.file))
        return entry.template


class _MistakeError(Exception):
    def __init__(self, file: Path, key: str, reason: str) -> None:
        self.problem = Problem(str(file), key, reason)
        super().__init__(str(self.problem))


def _read_file(file: Path, key: str) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise _MistakeError(file, f"{key}.content_path", f"the file cannot be read: {exc}") from exc


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _parse_words(words: Words) -> MailTemplate:
    subject, html, text = words
    return MailTemplate(parse_template(subject), parse_template(html, as_html=True), parse_template(text))


def _choose(entries: Mapping[str, _Entry], name: str, metadata: Mapping[str, Any]) -> _Entry:
    for language in _languages(metadata):
        if (entry := entries.get(f"{name}.{language}")) is not None:
            return entry
    return entries[name]


def _languages(metadata: Mapping[str, Any]) -> Iterator[str]:
    """The user's language from the most to the least exact: `pt-br`, `pt`.

    >>> list(_languages({"locale": "pt_BR"}))
    ['pt-br', 'pt']
    """
    named = next((metadata[key] for key in LANGUAGE_KEYS if isinstance(metadata.get(key), str)), "")
    if len(named) > 35 or LANGUAGE.fullmatch(named) is None:
        return
    parts = named.lower().replace("_", "-").split("-")
    for length in range(len(parts), 0, -1):
        yield "-".join(parts[:length])
