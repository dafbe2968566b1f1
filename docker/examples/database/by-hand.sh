#!/bin/sh
# Starts the same programs without a supervisor, each after the one before answers. benches/containers compares the times.
set -e
until_ok() { until "$@" >/dev/null 2>&1; do sleep 0.02; done; }
user() { name=$1 && shift && setpriv --reuid "$name" --regid "$name" --init-groups "$@"; }
user postgres /usr/lib/postgresql/15/bin/postgres -D /var/lib/postgresql/15/main -c config_file=/etc/postgresql/15/main/postgresql.conf &
until_ok user postgres pg_isready -q
user postgres psql -q -v ON_ERROR_STOP=1 -f /app/schema.sql
export PGDATABASE=postgres
user www-data python3 -u /app/app.py &
until_ok curl -sf http://127.0.0.1:8000/
nginx &
until_ok curl -sf http://127.0.0.1/
user www-data python3 -u /app/worker.py &
echo "all ready"
wait
