"""What lasts: the database of the data folder.

SQL is spoken here and nowhere else. Everybody else hands functions of a session to
`Database.run` and `Database.read` and gets detached rows back.
"""
