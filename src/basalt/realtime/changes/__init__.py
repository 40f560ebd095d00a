"""Changes of tables: out of PostgreSQL's log, to those who asked for them and may see them.

`log` reads and decodes it, `tables` knows the tables, `filters` what subscriptions ask for, `policies` who sees a row.
`engine` keeps the stream running and lets `subscriptions` in and out; `delivery` takes a batch through all
of it, `rendering` makes frames of it and `writing` sends them. `ring` and `departures` are for those who come back.
"""
