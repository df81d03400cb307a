"""What holds for every test."""

import os

# The tests may be a step of a workflow; a run that they make is none, and must not write into its summary.
os.environ.pop("GITHUB_ACTIONS", None)
