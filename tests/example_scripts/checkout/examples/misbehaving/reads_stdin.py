name = input("Your name? ")
print("EXAMPLE_COST: 0")
