"""Settings of Realtime: the Supabase CLI's `[realtime]`, and the limits of `[basalt.realtime]`."""

from dataclasses import dataclass

from basalt.config.setting import setting


@dataclass(frozen=True, kw_only=True)
class RealtimeServiceSettings:
    enabled: bool = setting(True, "Serve Realtime under /realtime/v1.")


@dataclass(frozen=True, kw_only=True)
class RealtimeSettings:
    """Limits hold for each gateway process; 0 is no limit."""

    private_only: bool = setting(False, "Refuse public channels.")
    max_sockets: int = setting(20_000, "Open WebSockets.", low=0)
    channels_per_socket: int = setting(100, "Channels of one socket.", low=0)
    joins_per_second: int = setting(1_000, "Joins a second, averaged over a minute.", low=0)
    messages_per_second: int = setting(
        1_000_000, "Messages sent and delivered a second, averaged over a minute.", low=0
    )
    presence_messages_per_second: int = setting(
        10_000, "Presence messages a second, averaged over a minute.", low=0
    )
    presence_calls: int = setting(50, "Calls of track and untrack on one channel in 30 seconds.", low=0)
    max_payload_bytes: int = setting(3_000_000, "Largest broadcast or presence payload.", low=1024)
    max_buffer_bytes: int = setting(
        8 * 1024 * 1024, "What may wait to be sent to one socket before it is closed as too slow.", low=65_536
    )
    refusal_delay_s: float = setting(
        1.0, "Pause before a refused handshake or join is answered; it slows down who tries again.", low=0
    )
    silence_limit_s: float = setting(60.0, "A socket from which nothing came for so long is closed.", low=1)
    idle_limit_s: float = setting(600.0, "A socket without a channel is closed after so long.", low=1)
    settle_s: float = setting(
        0.025, "Changes of tables wait so long, so that none overtakes the response of its request.", low=0
    )
    replay_window_s: float = setting(
        120.0, "How long changes are kept for clients that lost their connection.", low=0
    )
    replay_bytes: int = setting(16 * 1024 * 1024, "Memory for those changes.", low=0)
    policy_timeout_s: float = setting(
        1.0, "Longest time that a policy may take to decide who sees a change.", low=0.01
    )
