"""A way to a server that breaks: each connection is cut after so many bytes from the client, or comes to a halt."""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

BLOCK = 64 * 1024


class CuttingProxy:
    """`cut_after` bytes a connection ends on both sides; after `halt_after` bytes in all nothing is passed on any more
    until the server is gone."""

    def __init__(self, port: int, *, cut_after: int | None = None, halt_after: int | None = None) -> None:
        self._target = ("127.0.0.1", port)
        self._cut_after = cut_after
        self._halt_after = halt_after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[threading.Thread] = []
        self._is_open = True
        self.passed_on = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def run(self) -> None:
        """Until closed."""
        while self._is_open:
            with suppress(TimeoutError):
                self._listener.settimeout(0.1)
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=[client])
                self._connections.append(thread)
                thread.start()
        for thread in self._connections:
            thread.join()
        self._listener.close()

    def close(self) -> None:
        self._is_open = False

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(self._target) as server:
            self._pass_on(client, server)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        sent = 0
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while self._is_open:
                for key, _ in selector.select(0.1):
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    block = source.recv(BLOCK)
                    if not block:
                        return
                    key.data.sendall(block)
                    if source is server:
                        continue
                    sent += len(block)
                    self.passed_on += len(block)
                    if self._cut_after is not None and sent >= self._cut_after:
                        return
                    if self._halt_after is not None and self.passed_on >= self._halt_after:
                        self._halt_after = None
                        selector.unregister(client)


@contextmanager
def cutting_proxy(
    port: int, *, cut_after: int | None = None, halt_after: int | None = None
) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(port, cut_after=cut_after, halt_after=halt_after)
    thread = threading.Thread(target=proxy.run)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join()
