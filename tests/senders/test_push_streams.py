"""FCM and APNs take so many requests at once on a connection, and no more: a hundred, or what the server says."""

from collections.abc import Callable

import h2.settings
import pytest

from basalt.config import ApnsSettings, ConfigError, FcmSettings
from basalt.http import OutgoingClient
from basalt.senders import Delivery
from basalt.senders.apns import ApnsSender
from basalt.senders.fcm import FcmSender
from tests.fakes.apns import KEY_ID, TEAM_ID, TOPIC, FakeApns
from tests.fakes.fcm import FakeFcm
from tests.fakes.http2_server import Answer, Late, http2_server
from tests.fakes.small_server import Received, Reply, small_server
from tests.jobs.engines import settings_with

pytestmark = pytest.mark.req("P13", "M4")

MOST = h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS
CONNECTIONS = 3


def late(answer: Callable[[Received], Answer]) -> Callable[[Received], Answer]:
    """So that as many are open as the client opens."""

    def answer_late(request: Received) -> Answer:
        reply = answer(request)
        assert isinstance(reply, Reply)
        return Late(reply, 0.05)

    return answer_late


@pytest.mark.parametrize(
    ("at_first", "later", "most"),
    [
        ({MOST: 1000}, {}, 100),  # what the server would take
        ({MOST: 7}, {}, 7),
        ({MOST: 1}, {MOST: 1000}, 100),  # as APNs does once it has seen a valid token
        ({MOST: 60}, {MOST: 5}, 60),  # the server is strict: it has the connection end that opens more
    ],
    ids=["many", "few", "one, then many", "some, then few"],
)
@pytest.mark.parametrize("name", ["fcm", "apns"])
async def test_no_connection_has_more_streams_open_than_allowed(
    name: str, at_first: dict[int, int], later: dict[int, int], most: int
) -> None:
    fcm, apns = FakeFcm(), FakeApns()
    answer = late(fcm.answer if name == "fcm" else apns.answer)
    with small_server(fcm.grant) as fcm.url:
        async with http2_server(answer, settings=at_first, later_settings=later) as server:
            sender = (
                FcmSender(
                    FcmSettings(
                        service_account=fcm.service_account(), api_url=server.url, connections=CONNECTIONS
                    ),
                    OutgoingClient(),
                )
                if name == "fcm"
                else ApnsSender(
                    ApnsSettings(
                        key=apns.pem(),
                        key_id=KEY_ID,
                        team_id=TEAM_ID,
                        topic=TOPIC,
                        api_url=server.url,
                        connections=CONNECTIONS,
                    ),
                    is_sandbox=True,
                )
            )
            deliveries = [Delivery(key=f"{n}", address=f"{n:064x}", body="Hello") for n in range(400)]
            outcomes = await sender.deliver(deliveries)
            await sender.close()
    assert {outcome.verdict for outcome in outcomes} == {"accepted"}
    assert server.most_streams == most
    assert server.connections <= CONNECTIONS


@pytest.mark.parametrize("name", ["fcm", "apns"])
def test_no_setting_allows_more(name: str) -> None:
    assert getattr(settings_with(f"[notify.providers.{name}]\nstreams = 100").notify.providers, name)
    with pytest.raises(ConfigError, match="streams"):
        settings_with(f"[notify.providers.{name}]\nstreams = 101")
