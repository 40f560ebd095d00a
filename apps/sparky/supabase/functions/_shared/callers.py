"""Who may call a function, said before anything else happens."""

from _shared.errors import error

from basalt.functions import Context, Request


def check_post(request: Request) -> None:
    """Every function acts, so every function is called with POST."""
    if request.method != "POST":
        raise error("METHOD_NOT_ALLOWED")


def check_user(request: Request, context: Context) -> str:
    """The signed-in user's id: an API key alone passes verify_jwt, but is nobody."""
    check_post(request)
    if context.user_id is None:
        raise error("UNAUTHORIZED")
    return str(context.user_id)


def check_service(request: Request, context: Context) -> None:
    """The service role: a secret key, held by servers and schedules."""
    check_post(request)
    if context.role != "service_role":
        raise error("FORBIDDEN")
