"""What earlier runs came to, in one SQLite file that is made from their folders, and from nothing else.

points.py       one cell in one run, which is all that a trend is drawn from
database.py     the file: opened, added to, asked
remember.py     what a run does about it at its end
since.py        since when a cell fails; flakiness.py: how often for no reason; medians.py

reading.py      results.json -> rows; writing.py: rows -> the file; rows.py: and back
schema.py       the tables, and how an older file becomes a current one
connection.py   a connection to a file that is ours, whole and current
files.py        who may use the file, and who may replace it; making.py: made anew
merging.py      everything of another one's
"""
