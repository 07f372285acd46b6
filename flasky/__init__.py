"""The project: settings, addresses, and the doors a server comes in by."""
