"""What functions refuse themselves: code → status and sentence. Routines of the database raise their own."""

from basalt.functions import FunctionError

ERRORS = {
    "UNAUTHORIZED": (401, "Sign in first"),
    "INVALID_SIGNATURE": (401, "The HMAC is missing or wrong"),
    "FORBIDDEN": (403, "Only the service role may call this function"),
    "METHOD_NOT_ALLOWED": (405, "Call this function with POST"),
    "PAYMENT_FAILED": (502, "The payment provider could not take the order; nothing was charged"),
    "PAYMENTS_NOT_CONFIGURED": (503, "Payments are not set up"),
    "VALIDATION_ERROR": (400, "The parameters are not what this tool takes"),
    "WRONG_FUNCTION": (400, "This tool belongs to the other function"),
    "NOT_YOUR_FOLDER": (403, "The picture must be in your own folder of user_uploads"),
    "TOOL_NOT_FOUND": (404, "There is no such tool"),
    "COLOR_NOT_FOUND": (404, "There is no such colour"),
    "HAIRSTYLE_NOT_FOUND": (404, "There is no such hairstyle"),
    "SOURCE_NOT_FOUND": (404, "There is no picture at this path"),
    "GENERATION_NOT_FOUND": (404, "There is no such generation of yours"),
    "IMAGE_TOO_LARGE": (413, "The picture is too large"),
    "INVALID_IMAGE": (422, "This is not a JPEG, PNG or WebP picture"),
    "NO_HAIR_FOUND": (422, "Nothing in this region has the colour of hair; try another region"),
    "NO_SKIN_FOUND": (422, "Nothing in this picture has the colour of skin"),
    "MODEL_REFUSED": (422, "The image model refuses this picture or tool for safety's sake"),
    "TOOL_NEEDS_MODEL": (501, "The local preview cannot do this; it takes an image model"),
    "MODEL_FAILED": (502, "The image model did not give a usable answer; nothing was charged"),
    "MODEL_BUSY": (503, "The image model has no capacity at the moment; nothing was charged"),
    "MODEL_NOT_CONFIGURED": (503, "The image model does not take our key or settings; nothing was charged"),
    "STILL_RUNNING": (503, "An identical request is still being worked on"),
    "MODEL_TIMEOUT": (504, "The image model took too long; nothing was charged"),
}


def error(code: str, message: str | None = None, *, details: object = None) -> FunctionError:
    """To be raised; the message of the table unless one is given. `retry_after_s` in the details is a header too."""
    status, usual = ERRORS[code]
    after = details.get("retry_after_s") if isinstance(details, dict) else None
    headers = [("retry-after", str(after))] if isinstance(after, int) else []
    return FunctionError(code, message or usual, status=status, details=details, headers=headers)
