"""Webhooks: messages about the end of an export to an address that its owner gave, signed by Standard Webhooks."""
