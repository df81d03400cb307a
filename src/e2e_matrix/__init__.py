"""Runs the OpenHands agent-server images end to end, every variant on every platform."""
