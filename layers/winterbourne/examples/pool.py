"""A connection shared by all invocations of an execution environment, with lifecycle hooks: `pool.handler`."""

import sqlite3

from winterbourne import after_restore, before_snapshot, on_shutdown, on_startup

database: sqlite3.Connection


@on_startup
@after_restore
def connect():
    global database
    database = sqlite3.connect(":memory:", check_same_thread=False)


@on_shutdown
@before_snapshot
def disconnect():
    database.close()


def handler(event, context):  # a plain function runs in a thread and answers in one piece
    return database.execute("select 6 * 7").fetchone()[0]
