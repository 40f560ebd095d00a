"""Every route of the JSON API. `public` ones need no token; every other one needs a token or a key, and the policies
decide the rest."""

from typing import Final

from basalt.http import Route, RouteTable
from basalt.storage.api import buckets, download, lists, render, rows, service_status, signed, upload

PUBLIC: Final = "public"
CALLER: Final = "caller"

ROUTES: Final = RouteTable(
    [
        Route("GET", "/status", PUBLIC, service_status.status),
        Route("GET", "/version", PUBLIC, service_status.version),
        Route("GET", "/health", CALLER, service_status.health),
        Route("POST", "/bucket", CALLER, buckets.create),
        Route("GET", "/bucket", CALLER, buckets.list_all),
        Route("GET", "/bucket/{bucket}", CALLER, buckets.get),
        Route("PUT", "/bucket/{bucket}", CALLER, buckets.update),
        Route("POST", "/bucket/{bucket}/empty", CALLER, buckets.empty),
        Route("DELETE", "/bucket/{bucket}", CALLER, buckets.delete),
        Route("GET", "/bucket/{bucket}/lifecycle", CALLER, buckets.lifecycle),
        Route("PUT", "/bucket/{bucket}/lifecycle", CALLER, buckets.lifecycle),
        Route("DELETE", "/bucket/{bucket}/lifecycle", CALLER, buckets.lifecycle),
        Route("POST", "/object/copy", CALLER, rows.copy),
        Route("POST", "/object/move", CALLER, rows.move),
        Route("POST", "/object/list/{bucket}", CALLER, lists.list_level),
        Route("POST", "/object/list-v2/{bucket}", CALLER, lists.list_page),
        Route("POST", "/object/sign/{bucket}", CALLER, signed.sign_many),
        Route("POST", "/object/sign/{bucket}/{path*}", CALLER, signed.sign),
        Route("GET", "/object/sign/{bucket}/{path*}", PUBLIC, download.get_signed),
        Route("POST", "/object/upload/sign/{bucket}/{path*}", CALLER, signed.sign_upload),
        Route("PUT", "/object/upload/sign/{bucket}/{path*}", PUBLIC, signed.upload_signed),
        Route("GET", "/object/info/public/{bucket}/{path*}", PUBLIC, download.info_public),
        Route("GET", "/object/info/authenticated/{bucket}/{path*}", CALLER, download.info_authenticated),
        Route("GET", "/object/info/{bucket}/{path*}", PUBLIC, download.info_either),
        Route("GET", "/object/public/{bucket}/{path*}", PUBLIC, download.get_public),
        Route("GET", "/object/authenticated/{bucket}/{path*}", CALLER, download.get_authenticated),
        Route("GET", "/object/pending/{version}", PUBLIC, download.get_pending),
        Route("GET", "/object/{bucket}/{path*}", PUBLIC, download.get_either),
        Route("POST", "/object/{bucket}/{path*}", CALLER, upload.create),
        Route("PUT", "/object/{bucket}/{path*}", CALLER, upload.replace_or_create),
        Route("DELETE", "/object/{bucket}", CALLER, rows.delete_many),
        Route("DELETE", "/object/{bucket}/{path*}", CALLER, rows.delete),
        Route("GET", "/render/image/public/{bucket}/{path*}", PUBLIC, render.public),
        Route("GET", "/render/image/authenticated/{bucket}/{path*}", CALLER, render.authenticated),
        Route("GET", "/render/image/sign/{bucket}/{path*}", PUBLIC, render.signed),
        Route("DELETE", "/cdn", CALLER, service_status.purge),
        Route("DELETE", "/cdn/{bucket}", CALLER, service_status.purge),
        Route("DELETE", "/cdn/{bucket}/{path*}", CALLER, service_status.purge),
    ]
)
