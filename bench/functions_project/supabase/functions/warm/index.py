from basalt.functions import Context, Request


async def handler(request: Request, context: Context) -> object:
    return {"message": "hello"}
