from basalt.functions import Context, Request, Response

BLOCK = b"x" * 65536


async def handler(request: Request, context: Context) -> object:
    async def blocks():
        for _ in range(800):
            yield BLOCK

    return Response(blocks())
