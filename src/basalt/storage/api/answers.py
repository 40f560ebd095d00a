"""Answers that several handlers give."""

from basalt.http import Request, Response, json_response
from basalt.postgres import Result

JSON = (b"content-type", b"application/json; charset=utf-8")


def raw_json(result: Result) -> Response:
    """The first value of the first row as it is: PostgreSQL has built the JSON."""
    return Response(200, [JSON], result.rows[0][0] or b"null")


def unknown_route(request: Request) -> Response:
    """For paths that lead nowhere, and those to what is switched off."""
    path = request.raw_path + (f"?{request.query_string.decode('latin-1')}" if request.query_string else "")
    message = f"Route {request.method}:{path} not found"
    return json_response({"message": message, "error": "Not Found", "statusCode": 404}, 404)
