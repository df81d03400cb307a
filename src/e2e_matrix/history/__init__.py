"""What earlier runs came to, in one SQLite file that is made from their folders, and from nothing else.

points.py     one cell in one run, which is all that a trend is drawn from
reading.py    results.json -> a row for the run and one for each cell
schema.py     the tables, and how an older file becomes a current one
database.py   the file: opened, added to, asked
rows.py       its rows as the rest of the program knows them
"""
