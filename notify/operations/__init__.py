"""What an operator sees and does: status, actions, the self-test, checks, health, metrics and error reports.

May import every wing but the pages (`admin`, `management`, `visitors`), which are built on it. Start with `status`
(does mail work, why not, what to do) and `actions`.
"""
