"""Presets of mail providers: `presets` reads `providers.toml`."""
