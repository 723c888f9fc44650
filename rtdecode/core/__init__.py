"""The nouns that every room shares: frames, localizations, actions, contracts, configuration, errors."""
