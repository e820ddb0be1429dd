"""The API role: HTTP in, intent out."""
