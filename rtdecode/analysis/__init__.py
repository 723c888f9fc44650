"""Pure functions on localizations: scores, densities."""
