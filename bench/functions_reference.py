"""What functions are set against: a bare Starlette endpoint on uvicorn, `python -m bench.functions_reference PORT`.

uvicorn runs as Basalt's gateway runs it (uvloop, httptools, no access log); nothing is checked, and the endpoint runs
in the server's own process.
"""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def hello(request: Request) -> JSONResponse:
    return JSONResponse({"message": "hello"})


if __name__ == "__main__":
    uvicorn.run(
        Starlette(routes=[Route("/functions/v1/warm", hello, methods=["POST"])]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
