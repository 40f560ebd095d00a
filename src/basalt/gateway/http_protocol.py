"""uvicorn's HTTP protocol with a bound on what is no body: the parser gathers a request's head until its end, however
far that is, and keeps all of it in memory."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
TOO_LARGE = b"The request's head has more than 64 KiB"


class HttpProtocol(HttpToolsProtocol):
    """Answers 431 (RFC 6585 §5). What counts is what came since the last piece of a body or end of a request: heads,
    trailers, and the framing between pieces."""

    _gathered_bytes = 0

    def data_received(self, data: bytes) -> None:
        self._gathered_bytes += len(data)
        super().data_received(data)
        if self._gathered_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse()

    def on_body(self, body: bytes) -> None:
        self._gathered_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._gathered_bytes = 0
        super().on_message_complete()

    def _refuse(self) -> None:
        if self.cycle is None or self.cycle.response_complete:  # else another answer is on its way
            head = b"HTTP/1.1 431 \r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
            self.transport.write((head + b"connection: close\r\n\r\n") % len(TOO_LARGE) + TOO_LARGE)
        self.transport.close()
