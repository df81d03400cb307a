"""A small GitHub, held against GitHub's own description of its API: see README.md."""
