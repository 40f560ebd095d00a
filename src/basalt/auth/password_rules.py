"""The rules a new password must meet (GoTrue api/password.go): length, characters, and that no breach has made it
known. What breaks several is told all of it at once."""

from typing import Final

from basalt import observe
from basalt.auth.breached import BreachApi, BreachFile, BreachListError
from basalt.auth.errors import AuthError
from basalt.auth.passwords import MAX_PASSWORD_BYTES
from basalt.config import AuthSettings

LOWER: Final = "abcdefghijklmnopqrstuvwxyz"
UPPER: Final = LOWER.upper()
DIGITS: Final = "0123456789"
SYMBOLS: Final = "!@#$%^&*()_+-=[]{};'\\:\"|<>?,./`~"
REQUIRED_CHARACTERS: Final[dict[str, tuple[str, ...]]] = {
    "": (),
    "letters_digits": (LOWER + UPPER, DIGITS),
    "lower_upper_letters_digits": (LOWER, UPPER, DIGITS),
    "lower_upper_letters_digits_symbols": (LOWER, UPPER, DIGITS, SYMBOLS),
}
PWNED: Final = "Password is known to be weak and easy to guess, please choose a different one."


class PasswordRules:
    """`breached` is the list of passwords that are known, None where it is not asked."""

    def __init__(self, settings: AuthSettings, breached: BreachApi | BreachFile | None) -> None:
        self._settings = settings
        self._breached = breached

    async def check(self, password: str) -> None:
        """Raises AuthError weak_password with every reason, validation_failed when too long for bcrypt,
        unexpected_failure when the list cannot be asked and `fail_closed` is set."""
        if len(password.encode()) > MAX_PASSWORD_BYTES:
            message = f"Password cannot be longer than {MAX_PASSWORD_BYTES} characters"
            raise AuthError("validation_failed", message)
        broken = self._find_broken(password)
        if await self._is_breached(password):
            broken["pwned"] = PWNED
        if broken:
            raise AuthError("weak_password", " ".join(broken.values()), reasons=list(broken))

    def _find_broken(self, password: str) -> dict[str, str]:
        """Reason and message of each rule."""
        broken = {}
        least = self._settings.minimum_password_length
        if len(password.encode()) < least:
            broken["length"] = f"Password should be at least {least} characters."
        required = REQUIRED_CHARACTERS[self._settings.password_requirements]
        if any(not set(password) & set(characters) for characters in required):
            wanted = ", ".join(required)
            broken["characters"] = f"Password should contain at least one character of each: {wanted}."
        return broken

    async def _is_breached(self, password: str) -> bool:
        if self._breached is None:
            return False
        try:
            return await self._breached.has(password)
        except BreachListError as error:
            observe.event("breach_list_unavailable", level="warning", reason=str(error))
            if self._settings.breached_passwords.fail_closed:
                message = "Unable to perform password strength check with the list of breached passwords."
                raise AuthError("unexpected_failure", message) from error
            return False
