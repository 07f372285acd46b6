"""Obtains, keeps and renews the OAuth 2 tokens that mail servers take in place of a password.

Start with `tokens`, which the email backend asks for an access token; `configuration` says from whom, `grants` how,
`store` keeps what must last.
"""
