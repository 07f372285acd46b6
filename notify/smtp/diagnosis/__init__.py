"""Turns a relay's reply into its cause and the fix. Start with `rules`; `causes` has the texts."""
