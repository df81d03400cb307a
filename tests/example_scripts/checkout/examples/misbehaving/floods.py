"""Prints more than anybody wants to keep."""

import os

line = b"x" * 99 + b"\n"
for _ in range(int(os.environ["FLOOD_BYTES"]) // 100_000):
    os.write(1, line * 1000)
print("EXAMPLE_COST: 0")
