print("all is well, and nothing is said of the cost")
