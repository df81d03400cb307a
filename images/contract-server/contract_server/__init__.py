"""A small server that keeps the agent-server's contract, and can be told to break it in one way.

It is what tests run in containers where the real server would be too slow, or too right. The variable
``CONTRACT_FAULT=<name>[:<argument>]`` names the way: ``faults.Fault`` has them all. It needs the standard
library only, for the image has nothing else. tests/e2e/conformance holds it and the real server to one list.
"""
