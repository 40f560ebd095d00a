"""What was set in vain, what is switched off or open, and what mixes up tests and people."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Final

from basalt.config import ProviderSettings, Settings
from basalt.project.doctor.setting_check import SettingCheck, Smell, is_public


def _unknown(settings: Settings) -> Iterator[Smell]:
    for key in settings.unknown_keys:
        yield (
            "warning",
            key,
            "means nothing to Basalt or the Supabase CLI",
            "look for its name in settings.md",
        )
    for key in settings.idle_keys:
        yield "info", key, "is known to the Supabase CLI, and this version does nothing with it", ""


def _functions(settings: Settings) -> Iterator[Smell]:
    for name, function in settings.functions.items():
        if function.enabled and not function.verify_jwt:
            yield (
                "info",
                f"functions.{name}.verify_jwt",
                "is false: everybody may call it; it has to check a signature or token itself",
                "verify_jwt = true, unless it is for a provider's webhook",
            )


def _logs(settings: Settings) -> Iterator[Smell]:
    if settings.basalt.log_level == "debug":
        yield (
            "warning" if is_public(settings) else "info",
            "basalt.log_level",
            "is debug: much is written, and slowly",
            'log_level = "info"',
        )


def _environments(settings: Settings) -> Iterator[Smell]:
    notify = settings.notify
    if not notify.enabled:
        return
    for name in _shared_secrets(notify.providers, notify.sandbox):
        yield (
            "error",
            f"notify.sandbox.{name}",
            "has the same secret as production: tests reach real people",
            "credentials of a test account",
        )
    if is_public(settings) and notify.environment != "production":
        yield (
            "warning",
            "notify.environment",
            f"is {notify.environment}, and the project is public: notifications do not reach people",
            'environment = "production"',
        )
    if not is_public(settings) and notify.environment == "production":
        yield (
            "warning",
            "notify.environment",
            "is production on a machine that is not public: tests reach real people",
            'environment = "inbox"',
        )


def _shared_secrets(production: ProviderSettings, sandbox: ProviderSettings) -> Iterator[str]:
    for provider in fields(ProviderSettings):
        real, test = getattr(production, provider.name), getattr(sandbox, provider.name)
        for spec in fields(real):
            value = getattr(real, spec.name)
            if spec.metadata.get("is_secret") and value and value == getattr(test, spec.name):
                yield f"{provider.name}.{spec.metadata.get('key') or spec.name}"


def _backups(settings: Settings) -> Iterator[Smell]:
    backup = settings.basalt.backup
    if not is_public(settings):
        return
    if backup.target is None:
        if not settings.db.url:
            yield (
                "warning",
                "basalt.backup.target",
                "is not set: nothing is backed up",
                'target = "s3://BUCKET/PREFIX"',
            )
    elif backup.schedule is None:
        yield (
            "warning",
            "basalt.backup.schedule",
            "is not set: backups are made by hand only",
            'schedule = "0 3 * * *"',
        )


def _work(settings: Settings) -> Iterator[Smell]:
    if settings.basalt.worker.mode == "off":
        yield (
            "info",
            "basalt.worker.mode",
            "is off: jobs, schedules and webhooks need `basalt worker` on another machine",
            'mode = "process"',
        )
    if not settings.basalt.cron.enabled:
        yield (
            "info",
            "basalt.cron.enabled",
            "is false: no schedule runs by this node's worker",
            "enabled = true",
        )


CONFIG_CHECKS: Final[Sequence[SettingCheck]] = (
    SettingCheck(
        name="unknown_settings",
        title="Settings without effect",
        why="What was meant by it does not happen.",
        look=_unknown,
    ),
    SettingCheck(
        name="open_functions",
        title="Functions that everybody may call",
        why="Such a function runs with all its secrets for whoever asks.",
        look=_functions,
    ),
    SettingCheck(
        name="log_level",
        title="Log level",
        why="The disk fills, and what matters is not seen.",
        look=_logs,
    ),
    SettingCheck(
        name="environments",
        title="Sandbox and production of notifications",
        why="Either test messages reach people, or people get none.",
        look=_environments,
    ),
    SettingCheck(
        name="backups",
        title="Backups",
        why="Disks fail, and people delete the wrong rows.",
        look=_backups,
    ),
    SettingCheck(
        name="work_switched_off",
        title="Work that nobody does on this node",
        why="Jobs and schedules wait until some worker does them.",
        look=_work,
    ),
)
