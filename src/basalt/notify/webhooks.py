"""`POST /notify/v1/webhooks/PROVIDER`: providers tell what became of messages. Who signed the request is all that
counts; what it says about messages that are not ours is no error, or providers would repeat it for days."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from basalt import observe
from basalt.http import Response, json_response
from basalt.notify.call import Call
from basalt.notify.errors import NotifyError
from basalt.notify.measures import REPORTS
from basalt.notify.reports import apply_reports
from basalt.senders import ForgedReportError, ReportRequest

MAX_REPORT_BYTES: Final = 1024 * 1024  # SendGrid's batches are below 768 KB


async def take_reports(call: Call, provider: str) -> Response:
    reader = call.ctx.readers.get(provider)
    if reader is None:
        place = "sandbox" if call.ctx.settings.environment == "sandbox" else "providers"
        raise NotifyError(
            "report_provider_not_found",
            f"No reports of {provider!r:.40} are taken here",
            hint=f"Its webhook secret or key belongs into [notify.{place}] of supabase/config.toml",
        )
    request = call.request
    query = f"?{request.query_string.decode('latin-1')}" if request.query_string else ""
    received = ReportRequest(
        url=f"{request.base_url}{request.prefix}{request.raw_path}{query}",
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.raw},
        body=await request.body(MAX_REPORT_BYTES),
    )
    try:
        reports = reader.read_reports(received, now=datetime.now(UTC))
    except ForgedReportError as exc:
        REPORTS.add(1, provider, "forged")
        observe.event("delivery_report_forged", level="warning", provider=provider, client=request.client_ip)
        raise NotifyError("report_forged") from exc
    except ValueError as exc:
        REPORTS.add(1, provider, "invalid")
        raise NotifyError("report_invalid", f"This is no report of {provider}") from exc
    counts = asdict(await apply_reports(call.ctx.pool, provider, reports))
    observe.event("delivery_reports", level="debug", provider=provider, **counts)
    return json_response(counts)
