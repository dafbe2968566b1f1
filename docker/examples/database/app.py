"""A small web application: each request writes a row to the database, and answers with the number of rows."""

from http.server import BaseHTTPRequestHandler, HTTPServer

import psycopg2


class Visits(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            status, body = 200, f"visits: {visit(self.path)}\n"
        except psycopg2.Error as error:
            status, body = 503, f"{error}\n"
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())


def visit(path):
    database = psycopg2.connect("")
    try:
        with database, database.cursor() as cursor:
            cursor.execute("INSERT INTO visits (path) VALUES (%s)", (path[:200],))
            cursor.execute("SELECT count(*) FROM visits")
            return cursor.fetchone()[0]
    finally:
        database.close()


HTTPServer(("127.0.0.1", 8000), Visits).serve_forever()
