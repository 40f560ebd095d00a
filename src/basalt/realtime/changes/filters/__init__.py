"""What a subscription asks for: its bindings, the grammar of filters, and which of many match a row."""
