"""A tool that tells of a picture, for the signed-in user. As `process-image`, and JSON comes out."""

from _shared.generation import run_tool

from basalt.functions import Context, Request


async def handler(request: Request, context: Context) -> object:
    return await run_tool(request, context, "analysis")
