"""Sends stored messages: claims due rows, hands each to the relay, records each outcome right after its reply.

May import `smtp` and `models`. Start with `worker`, then `claims`, `session`, `outcome`; `retry` (pure) decides what a
failure means, `breaker` whether the relay is tried at all.
"""
