"""A tool that makes a picture of a picture, for the signed-in user: `toolId`, `toolParameters`,
`originalImageStoragePath`."""

from _shared.generation import run_tool

from basalt.functions import Context, Request


async def handler(request: Request, context: Context) -> object:
    return await run_tool(request, context, "image")
