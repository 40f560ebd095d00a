"""Who delivers: the providers of the settings, or those that somebody brings."""

from collections.abc import Callable, Mapping

from basalt.config import Settings
from basalt.postgres import Pool
from basalt.senders import DeliverySender

BuildSenders = Callable[[Settings, Pool], Mapping[str, DeliverySender]]
