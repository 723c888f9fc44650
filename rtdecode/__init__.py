"""rtdecode: real-time single-molecule localization at the microscope."""

__version__ = "0.1.0"
