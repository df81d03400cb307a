"""``python -m e2e_matrix``."""

from e2e_matrix.cli import main

if __name__ == "__main__":
    main()
