"""Functions that use what the context offers."""

REACHING_OUT = {
    "context/index.py": """
import asyncio
from basalt.functions import Context, Request, StorageError

done = []
released = []

async def handler(request: Request, context: Context) -> object:
    match request.path.partition("/context/")[2]:
        case "enqueue":
            return await context.queue.enqueue("context", {"n": 1}, key=request.query.get("key"), priority=2)
        case "enqueue-later":
            return await context.queue.enqueue("other", delay_s=3600)
        case "enqueue-and-fail":
            async with context.db.transaction() as tx:
                await context.queue.enqueue("undone", transaction=tx)
                raise RuntimeError("after all not")
        case "enqueue-and-write":
            async with context.db.transaction() as tx:
                await context.queue.enqueue("written", transaction=tx)
                await tx.execute("insert into notes (body) values (%(body)s)", {"body": request.query["body"]})
                return await tx.fetch_value("select current_user::text")
        case "notify":
            return [await context.notify.send_text("+491701", "hi"),
                await context.notify.send_mail("a@example.com", "Hi", text="there")]
        case "storage":
            return await use_storage(context.storage, f"{context.user_id}/a b.txt")
        case "service-storage":
            return await use_storage(context.service_storage, "anywhere/x y.txt")
        case "not-mine":
            await context.storage.from_("shelf").upload("somebody/x.txt", b"x")
        case "official":
            mine = await context.supabase.from_("notes").select("body").execute()
            all_notes = await context.service_supabase.from_("notes").select("body").execute()
            return {"mine": mine.data, "all": len(all_notes.data)}
        case "flags":
            name = request.query["name"]
            client = await context.flags.open_feature()
            return {
                "enabled": await context.flags.enabled(name),
                "value": await context.flags.value(name),
                "missing": await context.flags.enabled("nowhere", default=True),
                "all": await context.flags.all(),
                "open_feature": client.get_boolean_value(name, False),
            }
        case "background":
            context.background(work(request.query["text"]))
            return "answered"
        case "background-fails":
            context.background(fail())
            return "answered"
        case "release":
            released.append(request.query["text"])
        case "done":
            return done

async def work(text):
    while text not in released:
        await asyncio.sleep(0.01)
    print("background", text)
    done.append(text)

async def fail():
    raise RuntimeError("in the background")

async def use_storage(storage, path):
    shelf = storage.from_("shelf")
    await shelf.upload(path, b"hello", content_type="text/plain", metadata={"a": 1})
    try:
        await shelf.upload(path, b"again")
    except StorageError as error:
        twice = [error.code, error.status]
    await shelf.upload(path, b"replaced", content_type="text/plain", upsert=True)
    copied = path.rpartition("/")[0] + "/copy.txt"
    moved = path.rpartition("/")[0] + "/moved.txt"
    await shelf.copy(path, copied)
    await shelf.move(copied, moved)
    folder = path.partition("/")[0]
    names = [row["name"] for row in await shelf.list(folder)]
    info = await shelf.info(path)
    url = await shelf.create_signed_url(path, 60)
    urls = await shelf.create_signed_urls([path, "nowhere"], 60)
    there = [await shelf.exists(moved), await shelf.exists("nowhere")]
    content = (await shelf.download(moved)).decode()
    removed = len(await shelf.remove([path, moved]))
    return {"twice": twice, "names": names, "size": info["size"], "content": content, "url": url,
        "urls": [one["signedUrl"] is not None for one in urls], "there": there, "removed": removed,
        "public": shelf.get_public_url(path)}
""",
}
