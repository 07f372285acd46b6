"""The wire: how a stored message reaches the relay, and what the relay answered."""
