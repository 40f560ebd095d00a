"""Which push providers the settings ask for. Their libraries are loaded when one of them does."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from basalt.config import Settings, find_configured
from basalt.http import OutgoingClient
from basalt.late import LateModule
from basalt.senders.delivery import DeliverySender
from basalt.senders.provider_keys import build_with_key

if TYPE_CHECKING:
    from basalt.senders import apns, expo, fcm, google_token, onesignal, webpush
else:
    apns = LateModule("basalt.senders.apns")
    expo = LateModule("basalt.senders.expo")
    fcm = LateModule("basalt.senders.fcm")
    google_token = LateModule("basalt.senders.google_token")
    onesignal = LateModule("basalt.senders.onesignal")
    webpush = LateModule("basalt.senders.webpush")


def check_push_keys(settings: Settings) -> None:
    """Raises ConfigError for one that is none."""
    credentials = settings.notify.credentials
    fcm_key, apple, vapid_key = (
        credentials.fcm.service_account,
        credentials.apns,
        credentials.webpush.private_key,
    )
    checks: dict[str, Callable[[], object]] = {
        "fcm.service_account": lambda: google_token.parse_service_account(fcm_key),
        "apns.key": lambda: apns.ProviderTokens(apple.key, key_id=apple.key_id, team_id=apple.team_id),
        "webpush.private_key": lambda: webpush.load_vapid_key(vapid_key),
    }
    configured = find_configured(credentials)
    for key, check in checks.items():
        if key.partition(".")[0] in configured:
            build_with_key(settings, key, check)


def _build_fcm(settings: Settings) -> DeliverySender:
    section = settings.notify.credentials.fcm
    return build_with_key(settings, "fcm.service_account", lambda: fcm.FcmSender(section, OutgoingClient()))


def _build_apns(settings: Settings) -> DeliverySender:
    section = settings.notify.credentials.apns
    is_sandbox = settings.notify.environment == "sandbox"
    return build_with_key(settings, "apns.key", lambda: apns.ApnsSender(section, is_sandbox=is_sandbox))


def _build_expo(settings: Settings) -> DeliverySender:
    return expo.ExpoSender(settings.notify.credentials.expo, OutgoingClient())


def _build_onesignal(settings: Settings) -> DeliverySender:
    return onesignal.OneSignalSender(settings.notify.credentials.onesignal, OutgoingClient())


def _build_webpush(settings: Settings) -> DeliverySender:
    section = settings.notify.credentials.webpush
    return build_with_key(settings, "webpush.private_key", lambda: webpush.WebPushSender(section))


PUSH_BUILDERS: Final[Mapping[str, Callable[[Settings], DeliverySender]]] = {
    "fcm": _build_fcm,
    "apns": _build_apns,
    "expo": _build_expo,
    "onesignal": _build_onesignal,
    "webpush": _build_webpush,
}
