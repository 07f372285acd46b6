"""What administrators are notified of, and when: one by one, or folded into a digest.

May import `rendering` and `models`. Start with `record` (called in the visitor's request), then `policy` (pure), then
`digest` (run by the worker).
"""
