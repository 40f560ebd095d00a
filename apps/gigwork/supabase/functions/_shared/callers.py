"""Who may call a function, said in the document's error codes before anything else happens."""

from basalt.functions import Context, FunctionError, Request


def check_post(request: Request) -> None:
    """Every function acts, so every function is called with POST."""
    if request.method != "POST":
        raise FunctionError("METHOD_NOT_ALLOWED", "Call this function with POST", status=405)


def check_user(request: Request, context: Context) -> None:
    """A signed-in user: an API key alone passes verify_jwt, but is nobody."""
    check_post(request)
    if context.user_id is None:
        raise FunctionError("UNAUTHORIZED", "Sign in first", status=401)


def check_service(request: Request, context: Context) -> None:
    """The service role: a secret key, held by servers and schedules."""
    check_post(request)
    if context.role != "service_role":
        raise FunctionError("FORBIDDEN", "Only the service role may call this function", status=403)
