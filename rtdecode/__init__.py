"""rtdecode: real-time single-molecule localization at the microscope."""

import os

__version__ = "0.1.0"

# ONNX Runtime from 1.29 on tells its maker which models it runs unless this stands before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
