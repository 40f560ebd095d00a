"""Sign-in through other providers: OAuth 2, OpenID Connect, and Twitter's OAuth 1.0a.

`authorize` sends a browser to a provider and `callback` takes it back; `grant` takes ID tokens that apps got
themselves; `identities` links and unlinks. All ask `choose` for the provider, which is a description out of the table
in `providers` (or of the project's own, see `custom`) with the project's keys; `engine` speaks to it, `issuers` and
`id_token` know what it signs, and `profiles` reads what it tells of a user.
"""
