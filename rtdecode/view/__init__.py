"""Pictures of localizations: canvas, follower, window."""
