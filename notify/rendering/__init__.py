"""Turns a template into a message, unsent. Imports nothing of the other wings; start with `message`."""
