"""Tables as Realtime knows them: their columns, keys and types, values as JSON, and what the log leaves out."""
