"""A small web application: each request writes to, and reads from, both mariadb and redis. A parent with two workers on one port."""

import json
import os
import signal
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer

import pymysql
import redis


def visit(path):
    """Counts a visit in both databases. Returns both counts."""
    database = pymysql.connect(unix_socket="/run/mysqld/mysqld.sock", user="app", password="app", database="app", autocommit=True)
    with database, database.cursor() as cursor:
        cursor.execute("INSERT INTO visits (path) VALUES (%s)", (path[:200],))
        cursor.execute("SELECT COUNT(*) FROM visits")
        (rows,) = cursor.fetchone()
    with redis.Redis(host="127.0.0.1", socket_timeout=2) as cache:
        cache.incr("visits")
        return {"mariadb": rows, "redis": int(cache.get("visits"))}


class Visits(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            status, answer = 200, visit(self.path)
        except (pymysql.Error, redis.RedisError) as error:
            status, answer = 503, {"error": str(error)}
        body = json.dumps(answer).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(listener):
    server = HTTPServer(("127.0.0.1", 8000), Visits, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.serve_forever()


def main():
    listener = socket.create_server(("127.0.0.1", 8000))
    workers = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            serve(listener)
        workers.append(pid)

    def end(*_):
        for pid in workers:
            os.kill(pid, signal.SIGTERM)
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    print("serving on port 8000", flush=True)
    os.waitpid(-1, 0)
    end()


main()
