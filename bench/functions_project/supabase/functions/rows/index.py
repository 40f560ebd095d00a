from basalt.functions import Context, Request


async def handler(request: Request, context: Context) -> object:
    return await context.db.fetch_value("select 1 as one")
