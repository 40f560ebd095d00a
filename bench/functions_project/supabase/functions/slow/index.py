import asyncio

from basalt.functions import Context, Request


async def handler(request: Request, context: Context) -> object:
    await asyncio.sleep(1)
    return {"message": "hello"}
