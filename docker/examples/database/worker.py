"""A worker with one connection to the database, which it uses every second."""

import time

import psycopg2

database = psycopg2.connect("")
database.autocommit = True
print("connected", flush=True)
while True:
    with database.cursor() as cursor:
        cursor.execute("DELETE FROM visits WHERE id < (SELECT max(id) FROM visits) - 1000")
    time.sleep(1)
