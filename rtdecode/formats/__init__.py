"""Foreign localization files, one file for each format."""
