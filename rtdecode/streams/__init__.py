"""What crosses a process wall: ring, log, run folder, door."""
