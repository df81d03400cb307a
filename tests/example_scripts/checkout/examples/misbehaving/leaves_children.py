"""Ends well, and leaves a process behind."""

import subprocess

subprocess.Popen(["sleep", "1000"], start_new_session=True)
print("EXAMPLE_COST: 0")
