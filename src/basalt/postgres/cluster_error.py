"""The one error of the private cluster."""

from basalt.errors import BasaltError


class ClusterError(BasaltError):
    """The private cluster cannot run; the message is one sentence that says why and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__("cluster_failed", 500, message)
