"""The database's log: what it tells, decoded, and the stream that it comes in."""
