"""Functions that do what they should not."""

MISBEHAVING = {
    "bad/index.py": """
import asyncio, ctypes, os, subprocess, sys, threading, time

class Mute(Exception):
    def __str__(self):
        raise RuntimeError("not even this")

class OddDetails(Exception):
    pass

async def handler(request, context):
    how = request.query["how"]
    match how:
        case "exit":
            sys.exit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case "base":
            raise BaseException("of the base")
        case "mute":
            raise Mute
        case "group":
            raise ExceptionGroup("several", [ValueError("one"), TypeError("two")])
        case "deep":
            return deep()
        case "status":
            from basalt.functions import FunctionError
            raise FunctionError("ODD", "odd", status=200)
        case "details":
            from basalt.functions import FunctionError
            raise FunctionError("ODD", "odd", details={"value": object()})
        case "header":
            from basalt.functions import FunctionError
            raise FunctionError("ODD", "odd", headers=[("x-a", "b\\r\\nc: d")])
        case "binary":
            sys.stdout.buffer.write(bytes(range(256)) * 100)
            sys.stdout.buffer.flush()
            os.write(1, b"\\xff\\xfe\\x00" * 1000)
        case "flood":
            print("y" * 5_000_000)
            for number in range(20_000):
                print(number)
        case "fork":
            child = os.fork()
            if child == 0:
                try:
                    time.sleep(600)
                finally:
                    os._exit(0)
            return [os.getpid(), child]
        case "fork-and-return":
            child = os.fork()
            return [os.getpid(), child]
        case "daemon":
            child = subprocess.Popen(["sh", "-c", "setsid sleep 613 & echo $!"], stdout=subprocess.PIPE, text=True)
            number = int(child.stdout.readline())
            return [os.getpid(), number]
        case "close-socket":
            for number in range(3, 64):
                try:
                    os.close(number)
                except OSError:
                    pass
            await asyncio.sleep(60)
        case "garbage":
            for number in os.listdir("/proc/self/fd"):
                try:
                    if os.readlink(f"/proc/self/fd/{number}").startswith("socket:"):
                        os.write(int(number), b"\\x00\\x00\\x00\\x05hello" * 10)
                except OSError:
                    pass
            await asyncio.sleep(60)
        case "segfault":
            ctypes.string_at(0)
        case "thread":
            threading.Thread(target=time.sleep, args=[600]).start()
        case "zombie":
            asyncio.create_task(zombie())
        case "deaf":
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    pass
        case "stop-loop":
            asyncio.get_running_loop().stop()
            await asyncio.sleep(60)
    return os.getpid()

def deep():
    value = []
    for _ in range(100_000):
        value = [value]
    return value

async def zombie():
    await asyncio.sleep(600)
""",
    "exits-early/index.py": "import os\nos._exit(1)\n",
    "raises-early/index.py": """
class Mute(Exception):
    def __str__(self):
        raise RuntimeError("not even this")
raise Mute
""",
    "misses/index.py": "import nothing_of_this_name\nasync def handler(request, context): return 1\n",
    "sync/index.py": "def handler(request, context): return 1\n",
    "leaky/index.py": """
kept = []

async def handler(request, context):
    kept.append(bytearray(300 * 1024 * 1024))
    for page in range(0, len(kept[-1]), 4096):
        kept[-1][page] = 1
    import os
    return os.getpid()
""",
}
