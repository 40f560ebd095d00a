"""GET or POST /functions/v1/hello: greets whoever calls."""

from basalt.functions import Context, Request


async def handler(request: Request, context: Context) -> object:
    name = request.json().get("name", "world") if request.body else "world"
    return {"message": f"Hello {name}!"}
