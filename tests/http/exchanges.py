"""
Scripts of exchanges, as one reads them: who asks what, and what comes of it.

A line is `who METHOD path [body] [If-Match: n] -> status [code] [as name]`; `{name}` in a path or
a body stands for the id that an earlier line got `as name`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from tests.http.conftest import Running

LINE = re.compile(
    r"(?P<who>\w+) +(?P<method>[A-Z]+) +(?P<path>/\S*)(?: +(?P<body>\{.*\}))?"
    r"(?: +If-Match: (?P<version>\S+))? +-> (?P<expected>.*)"
)


def play(server: Running, callers: Mapping[str, Mapping[str, str]], script: str) -> dict[str, str]:
    """Play a script and compare every line of it; return the ids by their names."""
    ids: dict[str, str] = {}
    wanted = [line.strip() for line in script.strip().splitlines()]
    happened = []
    for line in wanted:
        found = LINE.fullmatch(line)
        assert found is not None, line
        answer = ask(server, callers[found["who"]], found, ids)
        name = found["expected"].partition(" as ")[2]
        if name:
            ids[name] = id_in(answer.json())
        told = outcome_of(answer) + (f" as {name}" if name else "")
        happened.append(line.removesuffix(found["expected"]) + told)
    assert wanted == happened, "\n".join(sorted(set(happened) - set(wanted)))
    return ids


def ask(
    server: Running, headers: Mapping[str, str], line: re.Match[str], ids: Mapping[str, str]
) -> httpx.Response:
    """Make the request of one line."""
    sent = dict(headers)
    if line["version"] is not None:
        sent["If-Match"] = line["version"]
    body = None if line["body"] is None else json.loads(filled(line["body"], ids))
    path = "/api/v1" + filled(line["path"], ids)
    return server.anonymous.request(line["method"], path, json=body, headers=sent)


def filled(text: str, ids: Mapping[str, str]) -> str:
    """Return *text* with the ids in place of their names."""
    return re.sub(r"\{(\w+)\}", lambda name: ids[name[1]], text)


def outcome_of(answer: httpx.Response) -> str:
    """Return the status, and the code of a problem."""
    is_problem = answer.headers.get("content-type") == "application/problem+json"
    return f"{answer.status_code} {answer.json()['code'] if is_problem else ''}".rstrip()


def id_in(body: dict[str, Any]) -> str:
    """Return the id of what was answered."""
    for name in ("user", "key", "proof"):
        if name in body:
            return str(body[name]["id"])
    return str(body["id"])
