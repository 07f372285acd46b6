"""Speaks SMTP to the relay. Imports nothing of ours but `conf`; start with `backend`, then `connection`, `wire`."""
