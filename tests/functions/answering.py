"""Functions that answer in every way there is."""

ANSWERS = {
    "answers/index.py": """
import asyncio, json
from basalt.functions import Context, Request, Response

produced = 0

async def handler(request: Request, context: Context) -> object:
    match request.path.partition("/answers/")[2]:
        case "cookies":
            return Response("ok", headers=[("set-cookie", "a=1"), ("Set-Cookie", "b=2")])
        case "line-break":
            return Response("ok", headers={"x-own": "a\\r\\nset-cookie: stolen=1"})
        case "bad-name":
            return Response("ok", headers={"x own": "a"})
        case "bad-status":
            return Response("ok", status=99)
        case "framing":
            headers = {"content-length": "2", "transfer-encoding": "chunked", "connection": "close"}
            return Response("whole", headers=headers)
        case "odd":
            return object()
        case "nothing":
            return None
        case "empty":
            return Response(status=204)
        case "bytes":
            return Response(b"\\x00\\xff")
        case "large":
            return Response(b"x" * 50_000_000)
        case "long-json":
            return {"text": "x" * 2_000_000}
        case "events":
            return Response(events(), headers={"content-type": "text/event-stream"})
        case "blocks":
            return Response(blocks())
        case "produced":
            return produced
        case "breaks":
            return Response(breaks())
        case "form":
            form = request.form()
            return [
                [name, value if isinstance(value, str) else [value.filename, value.content_type, value.body.decode()]]
                for name, value in form
            ]
        case "mirror":
            headers = {name: value for name, value in request.headers.items() if name.startswith(("x-own", "cookie"))}
            kind = request.headers.get("content-type", "")
            return {"method": request.method, "headers": headers, "kind": kind, "text": request.text(),
                "all": request.query_all("a")}
        case "raw":
            return Response(request.body, headers={"content-type": request.headers.get("content-type", "")})
        case "refused":
            return Response({"reason": "no"}, status=418)

async def events():
    yield "data: first\\n\\n"
    try:
        await asyncio.sleep(60)
    finally:
        print("the reader of events left")

async def blocks():
    global produced
    for _ in range(800):
        produced += 1
        yield b"x" * 65536

async def breaks():
    yield b"x" * 100
    raise RuntimeError("broken off")
""",
    "short/index.py": """
from basalt.functions import Response

async def handler(request, context):
    if request.query.get("how") == "stream":
        return Response(parts())
    return Response("x" * 1025)

async def parts():
    for _ in range(20):
        yield "x" * 100
""",
    "drip/index.py": """
import asyncio
from basalt.functions import Response

async def handler(request, context):
    if request.query.get("how") == "background":
        context.background(forever())
        return "answered"
    return Response(drops())

async def drops():
    while True:
        yield "drop"
        await asyncio.sleep(0.1)

async def forever():
    try:
        await asyncio.sleep(60)
    finally:
        print("the background was cancelled")
""",
    "narrow/index.py": """
import asyncio, os

async def handler(request, context):
    await asyncio.sleep(float(request.query["s"]))
    return os.getpid()
""",
}
