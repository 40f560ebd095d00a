"""How an error looks in S3: the real status, and a document that names the code."""

from urllib.parse import unquote

from basalt.http import Request, Response
from basalt.storage.errors import StorageError
from basalt.storage.s3.xml import CONTENT_TYPE, Tree, render_xml


def render_error(error: StorageError, request: Request) -> Response:
    """Without a body for HEAD."""
    resource = error.resource or unquote(request.raw_path.removeprefix("/s3").strip("/"))
    said: Tree = [("Code", error.code), ("Message", error.message)]
    # Supabase's errors have a namespace, other than Amazon's. Because of it boto3 does not know the root, and finds
    # code and message of an `Error` within only; everybody else reads those of the root.
    content = [("Resource", resource), *said, ("Error", said)]
    headers = [CONTENT_TYPE, *((name.encode(), value.encode("latin-1")) for name, value in error.headers)]
    body = b"" if request.method == "HEAD" else render_xml("Error", content)
    return Response(error.s3_status, headers, body)
