"""Second factors: GoTrue's `/factors` and their administration (GoTrue mfa.go).

A factor is enrolled unverified (`enrol`), challenged (`challenge`) and verified (`verify`), which raises the session to
`aal2` (`step_up`). `factors` holds what all of them need to know of a factor, `totp` the arithmetic of codes,
`attempts` the count of tries, `security_key` the WebAuthn side, `admin` what a project's back end may do.

Locks are taken in this order: sessions of the user, the user, factors, challenges.
"""
