"""pyrqlite against one node. The only argument is host:port."""

import datetime
import logging
import sys

import pyrqlite.dbapi2 as dbapi2
from check import equal, eventually, raises

CREATE = """CREATE TABLE samples (
    id INTEGER PRIMARY KEY, name TEXT UNIQUE, amount REAL, data BLOB, flag BOOL, day DATE, moment TIMESTAMP)"""
INSERT = "INSERT INTO samples (name, amount, data, flag, day, moment) VALUES (?, ?, ?, ?, ?, ?)"
DAY = datetime.date(2024, 2, 29)
MOMENT = datetime.datetime(2024, 2, 29, 23, 59, 58, 250000)


def rows(cursor, sql, *arguments, **options):
    return [tuple(row) for row in cursor.execute(sql, *arguments, **options).fetchall()]


def writes(cursor):
    cursor.execute(CREATE)
    cursor.execute(INSERT, ("it's ünïcode", 1.5, b"\x00\x01\xff", True, DAY, MOMENT))
    equal("first key", cursor.lastrowid, 1)
    cursor.execute(INSERT, (None,) * 6)
    equal("second key", cursor.lastrowid, 2)
    cursor.execute("INSERT INTO samples (name, amount) VALUES (:name, :amount)", {"name": "named", "amount": -2.25})
    equal("third key", cursor.lastrowid, 3)
    cursor.execute("UPDATE samples SET flag = 0 WHERE id >= ?", (2,))
    equal("changed rows", cursor.rowcount, 2)
    cursor.execute("DELETE FROM samples WHERE id = 99")
    equal("no row deleted", cursor.rowcount, 0)


def reads(cursor):
    found = rows(cursor, "SELECT * FROM samples ORDER BY id")
    equal("all types", found[0], (1, "it's ünïcode", 1.5, b"\x00\x01\xff", True, DAY, MOMENT))
    equal("NULLs", found[1], (2, None, None, None, False, None, None))
    equal("named parameters", found[2][1:3], ("named", -2.25))
    columns = [column[0] for column in cursor.description]
    equal("columns", columns, ["id", "name", "amount", "data", "flag", "day", "moment"])
    equal("no rows", rows(cursor, "SELECT * FROM samples WHERE id = ?", (99,)), [])
    equal("64 bits", rows(cursor, "SELECT 9223372036854775807 AS n"), [(9223372036854775807,)])
    row = cursor.execute("SELECT id, name FROM samples WHERE id = 3").fetchone()
    equal("by name", row["name"], "named")
    equal("the end", cursor.fetchone(), None)
    for level in ("none", "weak", "strong", "linearizable", "auto"):
        equal(f"level {level}", rows(cursor, "SELECT count(*) AS n FROM samples", consistency=level), [(3,)])
    equal("pragma", rows(cursor, "PRAGMA foreign_keys"), [(0,)])
    equal("table_info", [row[1] for row in rows(cursor, "PRAGMA table_info('samples')")], columns)


def many(cursor):
    cursor.execute("CREATE TABLE bulk (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
    cursor.executemany("INSERT INTO bulk (name) VALUES (?)", [(f"name-{n}",) for n in range(1000)])
    equal("bulk", cursor.rowcount, 1000)
    # The library logs the error of a statement and does not raise it. Nothing may have been written.
    cursor.executemany("INSERT INTO bulk (name) VALUES (?)", [("new",), ("name-7",)])
    equal("after a rollback", rows(cursor, "SELECT count(*) AS n, min(id) AS a, max(id) AS z FROM bulk"), [(1000, 1, 1000)])
    cursor.execute("SELECT id FROM bulk ORDER BY id")
    equal("fetchmany", [row[0] for row in cursor.fetchmany(3)], [1, 2, 3])
    equal("the rest", len(cursor.fetchall()), 997)


def errors(cursor):
    kind = dbapi2.Error
    duplicate = ("named", None, None, None, None, None)
    raises("constraint", kind, "UNIQUE constraint failed: samples.name", lambda: cursor.execute(INSERT, duplicate))
    raises("syntax", kind, 'near \\"INSRT\\": syntax error', lambda: cursor.execute("INSRT INTO samples"))
    raises("no table", kind, "no such table: nowhere", lambda: cursor.execute("SELECT * FROM nowhere"))
    equal("still there", rows(cursor, "SELECT count(*) AS n FROM samples"), [(3,)])


def queued(cursor):
    cursor.execute("INSERT INTO bulk (name) VALUES (?)", ("queued",), queue=True)
    cursor.execute("INSERT INTO bulk (name) VALUES (?)", ("waited for",), queue=True, wait=True)
    equal("after waiting", rows(cursor, "SELECT name FROM bulk WHERE id > 1000 ORDER BY id"), [("queued",), ("waited for",)])
    cursor.executemany("INSERT INTO bulk (name) VALUES (?)", [("a",), ("b",)], queue=True)
    eventually("the queue", lambda: rows(cursor, "SELECT count(*) AS n FROM bulk"), [(1004,)])


def main():
    logging.disable(logging.CRITICAL)
    host, port = sys.argv[1].rsplit(":", 1)
    detect = dbapi2.PARSE_DECLTYPES
    connection = dbapi2.connect(host=host, port=int(port), detect_types=detect, timeout=20)
    connection.ping()
    with connection.cursor() as cursor:
        for step in (writes, reads, many, errors, queued):
            step(cursor)
    connection.commit()
    connection.close()


main()
