"""Outgoing requests: the contract of pg_net and of database webhooks.

A request is a row that SQL has written in the caller's transaction: `net.http_request_queue` for `net.http_…`,
`basalt.webhook_requests` for the trigger `supabase_functions.http_request`. The sender claims rows of both
(`claiming`), holding no receiver more than its share of places (`places`); checks where they want to go and sends them
(`exchange`, `own_api`), judges what came of a webhook (`verdict`), and writes down what came of each (`settling`). A
request is sent once, a webhook until it is received or given up.
"""
