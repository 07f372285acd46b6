"""Tells administrators by mail when something happens on the site, and loses nothing on the way."""
