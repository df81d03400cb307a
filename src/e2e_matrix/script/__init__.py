"""Example scripts: what they may say in matrix.yaml, what they run with, and what is seen of them."""
