"""What functions refuse themselves: code → status and sentence. Routines of the database raise their own."""

from basalt.functions import FunctionError

ERRORS = {
    "UNAUTHORIZED": (401, "Sign in first"),
    "INVALID_SIGNATURE": (401, "The HMAC is missing or wrong"),
    "METHOD_NOT_ALLOWED": (405, "Call this function with POST"),
    "PAYMENT_FAILED": (502, "The payment provider could not take the order; nothing was charged"),
    "PAYMENTS_NOT_CONFIGURED": (503, "Payments are not set up"),
}


def error(code: str, message: str | None = None, *, details: object = None) -> FunctionError:
    """To be raised; the message of the table unless one is given."""
    status, usual = ERRORS[code]
    return FunctionError(code, message or usual, status=status, details=details)
