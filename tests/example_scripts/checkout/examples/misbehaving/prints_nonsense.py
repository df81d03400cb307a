import os

print(f"EXAMPLE_COST: {os.environ.get('NONSENSE', 'not much')}")
