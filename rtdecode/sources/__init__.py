"""Where frames come from: one file for each place; all pass one contract test."""

BUILT_IN = {
    "replay": "rtdecode.sources.replay:ReplaySource",
    "stream": "rtdecode.sources.stream:StreamSource",
    "simulated": "rtdecode.sources.simulated:SimulatedCamera",
    "mmcore": "rtdecode.sources.mmcore:MMCoreSource",
    "follow": "rtdecode.sources.follow:FollowSource",
    "micromanager": "rtdecode.sources.micromanager:MicroManagerSource",
    "mda": "rtdecode.sources.mda:MDASource",
}
"""Names that `use:` knows; everything else is `file.py:Class` or `package.module:Class`."""
