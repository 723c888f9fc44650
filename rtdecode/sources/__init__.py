"""Where frames come from: one file for each place; all pass one contract test."""

BUILT_IN = {
    "replay": "rtdecode.sources.replay:ReplaySource",
    "simulated": "rtdecode.sources.simulated:SimulatedCamera",
    "mmcore": "rtdecode.sources.mmcore:MMCoreSource",
}
"""Names that `use:` knows; everything else is `file.py:Class` or `package.module:Class`."""
