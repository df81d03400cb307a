"""Running a script as it was published: what it is told, what it runs in, and what it is seen to do."""
