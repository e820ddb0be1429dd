"""The gateway role: consoles over websockets, for whoever has a ticket. It has neither database nor bus."""
