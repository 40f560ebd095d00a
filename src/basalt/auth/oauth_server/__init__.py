"""The project as an OAuth 2.1 and OpenID Connect server for other applications (GoTrue api/oauthserver).

A client is registered (`registration`, by the rules of `client_metadata`) and sends a browser to `authorize`, which
keeps the request and leads on to a page of the project's own site. That page shows the signed-in user who asks
for what, and brings back the decision (`consent`). The code that follows from it is exchanged in `token_endpoint`, by
the client alone (`client_auth`). Users see and revoke what they allowed in `grants`; `discovery` tells programs
where everything is.
"""
