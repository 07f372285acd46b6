"""Speaks SMTP to the relay. Imports nothing of ours outside itself; start with `backend`, then `connection`, `wire`."""
