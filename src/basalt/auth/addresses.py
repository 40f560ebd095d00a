"""E-mail addresses and phone numbers, in the one form in which they are stored and compared.

GoTrue mail.go `validateEmail` and phone.go `validatePhone`: addresses in lower case, numbers as E.164 digits
without the plus sign.
"""

import re
from typing import Final

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from basalt.auth.errors import AuthError

MAX_EMAIL_LENGTH: Final = 255
E164_DIGITS: Final = re.compile(r"[1-9][0-9]{1,14}")


def normalise_email(email: str) -> str:
    """The address in lower case. Raises AuthError validation_failed. Only ASCII, as in GoTrue: a look-alike
    letter of another script is no way to a second account.

    >>> normalise_email("Ada@Example.COM")
    'ada@example.com'
    """
    if not email:
        raise AuthError("validation_failed", "An email address is required")
    if len(email) > MAX_EMAIL_LENGTH:
        raise AuthError("validation_failed", "An email address is too long")
    try:
        if not email.isascii():
            raise EmailNotValidError("only ASCII characters are allowed")
        # Without DNS, and `user@localhost` passes: development needs it and GoTrue allows it.
        validate_email(email, check_deliverability=False, allow_smtputf8=False, globally_deliverable=False)
    except EmailNotValidError as exc:
        raise AuthError("validation_failed", "Unable to validate email address: invalid format") from exc
    return email.lower()


def normalise_phone(phone: str) -> str:
    """E.164 digits of a number however it was typed. Raises AuthError validation_failed.

    >>> normalise_phone("+60 12-345 6789"), normalise_phone("60123456789")
    ('60123456789', '60123456789')
    """
    digits = phone_digits(phone)
    if E164_DIGITS.fullmatch(digits) is None:
        raise AuthError("validation_failed", "Invalid phone number format (E.164 required)")
    return digits


def phone_digits(phone: str) -> str:
    """The digits of a possible number; anything else only without its plus and spaces, as GoTrue compares
    it."""
    plain = phone.removeprefix("+").replace(" ", "")
    if len(phone) > 40:
        return plain
    try:
        number = phonenumbers.parse("+" + plain)
    except phonenumbers.NumberParseException:
        return plain
    if not phonenumbers.is_possible_number(number) or number.extension:
        return plain
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164).removeprefix("+")
