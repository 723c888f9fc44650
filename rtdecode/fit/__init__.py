"""From frames to localizations: windows, network, engines, detection, bundles."""
