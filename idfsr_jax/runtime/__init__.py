"""What a process runs on: devices, compiled programs, random keys."""
