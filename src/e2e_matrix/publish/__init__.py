"""Telling others what a run came to: GitHub, and the workflow it runs in."""
