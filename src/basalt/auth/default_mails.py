"""The words of mails that a project has not written itself: subject, HTML and text of each, as templates."""

from typing import Final, Literal

MailKind = Literal["confirmation", "recovery", "invite", "magic_link", "email_change", "reauthentication"]
NoticeKind = Literal[
    "password_changed",
    "email_changed",
    "phone_changed",
    "identity_linked",
    "identity_unlinked",
    "mfa_factor_enrolled",
    "mfa_factor_unenrolled",
]
Words = tuple[str, str, str]

LINK_AND_CODE: Final = """<p><a href="{{ .ConfirmationURL }}">%s</a></p>
<p>Or enter this code: <strong>{{ .Token }}</strong></p>
"""

MAILS: Final[dict[MailKind, Words]] = {
    "confirmation": (
        "Please confirm your e-mail address",
        "<h2>Welcome</h2>\n<p>One step is left: confirm that this address is yours.</p>\n"
        + LINK_AND_CODE % "Confirm my address",
        "Confirm that this address is yours:\n{{ .ConfirmationURL }}\n\nOr enter this code: {{ .Token }}\n",
    ),
    "recovery": (
        "Choose a new password",
        "<h2>New password</h2>\n<p>Somebody, hopefully you, asked for a new password.</p>\n"
        + LINK_AND_CODE % "Choose a new password"
        + "<p>If it was not you, nothing has changed and this mail can be deleted.</p>\n",
        "Choose a new password:\n{{ .ConfirmationURL }}\n\nOr enter this code: {{ .Token }}\n\n"
        "If it was not you who asked, nothing has changed.\n",
    ),
    "invite": (
        "You are invited",
        "<h2>You are invited</h2>\n<p>An account at {{ .SiteURL }} is waiting for you.</p>\n"
        + LINK_AND_CODE % "Accept the invitation",
        "An account at {{ .SiteURL }} is waiting for you:\n{{ .ConfirmationURL }}\n\n"
        "Or enter this code: {{ .Token }}\n",
    ),
    "magic_link": (
        "Your link to sign in",
        "<h2>Sign in</h2>\n<p>This link works once and not for long.</p>\n" + LINK_AND_CODE % "Sign in",
        "Sign in:\n{{ .ConfirmationURL }}\n\nOr enter this code: {{ .Token }}\n",
    ),
    "email_change": (
        "Confirm the change of your e-mail address",
        "<h2>Change of address</h2>\n"
        "<p>Your account is to use {{ .NewEmail }}{{ if .Email }} instead of {{ .Email }}{{ end }}.</p>\n"
        + LINK_AND_CODE % "Confirm the change"
        + "<p>If you did not ask for this, change your password.</p>\n",
        "Your account is to use {{ .NewEmail }}. Confirm the change:\n{{ .ConfirmationURL }}\n\n"
        "Or enter this code: {{ .Token }}\n",
    ),
    "reauthentication": (
        "{{ .Token }} is your code",
        "<h2>Your code</h2>\n<p>Enter it to go on: <strong>{{ .Token }}</strong></p>\n",
        "Enter this code to go on: {{ .Token }}\n",
    ),
}


def _notice(subject: str, sentence: str, advice: str) -> Words:
    html = f"<h2>{subject}</h2>\n<p>{sentence}</p>\n<p>If it was not you, {advice}</p>\n"
    return subject, html, f"{sentence}\n\nIf it was not you, {advice}\n"


CALL_US: Final = "tell us at {{ .SiteURL }} at once."

NOTICES: Final[dict[NoticeKind, Words]] = {
    "password_changed": _notice(
        "Your password was changed",
        "The password of your account {{ .Email }} was changed.",
        "choose a new one at {{ .SiteURL }} at once.",
    ),
    "email_changed": _notice(
        "Your e-mail address was changed",
        "Your account now uses {{ .Email }} instead of {{ .OldEmail }}.",
        CALL_US,
    ),
    "phone_changed": _notice(
        "Your phone number was changed",
        "Your account {{ .Email }} now uses the number {{ .Phone }}"
        "{{ if .OldPhone }} instead of {{ .OldPhone }}{{ end }}.",
        CALL_US,
    ),
    "identity_linked": _notice(
        "A way to sign in was added",
        "Your account {{ .Email }} can now be entered with {{ .Provider }}.",
        CALL_US,
    ),
    "identity_unlinked": _notice(
        "A way to sign in was removed",
        "Your account {{ .Email }} can no longer be entered with {{ .Provider }}.",
        CALL_US,
    ),
    "mfa_factor_enrolled": _notice(
        "A second factor was added",
        "Signing in to your account {{ .Email }} can now ask for a second factor ({{ .FactorType }}).",
        CALL_US,
    ),
    "mfa_factor_unenrolled": _notice(
        "A second factor was removed",
        "Signing in to your account {{ .Email }} no longer asks for this second factor ({{ .FactorType }}).",
        CALL_US,
    ),
}
