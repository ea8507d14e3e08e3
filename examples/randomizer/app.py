"""A random word for everybody who asks, and which copy of which version of this program chose it.

The words are in a database. Where it is comes from the environment, as Kubernetes writes it for a Service called "mysql"; as long as there
is no such Service, the program makes do with a few words of its own.
"""
import os
import random
import socket

import pymysql
from flask import Flask

app = Flask(__name__)

VERSION = os.environ.get("APP_VERSION", "unknown")
OWN_WORDS = ["barnacle", "krill", "lobster"]


def random_word():
    """A word, and where it is from."""
    host = os.environ.get("MYSQL_SERVICE_HOST")
    if host is None:
        return random.choice(OWN_WORDS), "a list in the program"
    connection = pymysql.connect(
        host=host,
        port=int(os.environ["MYSQL_SERVICE_PORT"]),
        user="root",
        password=os.environ.get("MYSQL_ROOT_PASSWORD", ""),
        database="randomizer",
        connect_timeout=5,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT word FROM random_words ORDER BY RAND() LIMIT 1")
        return cursor.fetchone()[0], "the database"


@app.route("/")
def hello():
    word, source = random_word()
    return (
        f"Hello from {socket.gethostname()}\n"
        f"Your random word is: {word} (from {source})\n"
        f"The version of this app is: {VERSION}\n"
    )


@app.route("/healthz")
def healthy():
    """Whether this program can answer. The database has its own probe: copies that cannot reach it should not all be taken away."""
    return "ok\n"
