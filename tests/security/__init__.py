"""Attacks that once worked, and others of their kinds."""
