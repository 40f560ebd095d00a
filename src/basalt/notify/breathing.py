"""Work of many small steps beside others on one event loop: who has held it for a while lets the others go on.

One turn of the loop is enough after steps that are short. After one that took long, as a costly template does for each
person, the others have as much time as it took: they need many turns to come to an end.
"""

import asyncio
import time
from typing import Final

AFTER_S: Final = 0.01


class Breath:
    """By the thread's own clock: a busy machine is not the work's fault."""

    def __init__(self) -> None:
        self._began_at = time.thread_time()

    async def take(self) -> None:
        """To be called after each step."""
        took_s = time.thread_time() - self._began_at
        if took_s > AFTER_S:
            await asyncio.sleep(took_s if took_s > 2 * AFTER_S else 0)
            self._began_at = time.thread_time()
