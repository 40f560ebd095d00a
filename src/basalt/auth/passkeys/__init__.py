"""Passkeys: GoTrue's `/passkeys` and their administration (GoTrue passkey_*.go).

`ceremony` is WebAuthn itself, options and checks, also for security keys as second factors; `challenges` are the
ceremonies under way, used once; `credentials` the registered passkeys. `register` adds one to a signed-in user,
`authenticate` signs a user in by one, `manage` lists, names and deletes them; `names` knows what kinds there are.
"""
