"""What the three tiers share: errors as problem+json, and a session of requests for each thread."""

import threading

import requests
from flask import Flask, Response, json
from werkzeug.exceptions import HTTPException

_local = threading.local()


def application(name: str) -> Flask:
    app = Flask(name)
    app.json.sort_keys = False
    app.json.compact = True
    app.register_error_handler(HTTPException, lambda error: problem(error.code, error.name, error.description))
    return app


def problem(status: int, title: str, detail: str, **more: int) -> Response:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return Response(json.dumps(body), status, mimetype="application/problem+json")


def not_found(item: int) -> Response:
    return problem(404, "Not found", f"There is no book {item}.", item=item)


def session() -> requests.Session:
    """Kept connections to the next tier."""
    found = getattr(_local, "session", None)
    if found is None:
        found = _local.session = requests.Session()
        found.trust_env = False  # no proxy is asked for, nor looked up at each request
    return found


def passed_on(answer: requests.Response) -> Response:
    """The next tier's answer as our own."""
    return Response(answer.content, answer.status_code, mimetype=answer.headers["Content-Type"])
