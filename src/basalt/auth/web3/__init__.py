"""Sign-in by wallet: a message that names this site, signed with the key of an account.

`message` reads the text line by line, `ethereum` and `solana` know addresses and signatures of their chain,
`grant` asks whether the message was meant for this site and now, and uses it up.
"""
