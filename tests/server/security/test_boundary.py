"""What a browser may be made to do by a page of somebody else's, and by a name that points to this machine."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from tests.server.security.conftest import content_of, open_socket, share
from tests.server.security.routes import CHANGING, GUARDED, SOCKETS, Known, named

ALL_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY")


def cookie(served) -> str:
    answer = served.ask("POST", "/api/login", {"token": served.token}, token=None)
    assert answer.status == 204
    return answer.headers["set-cookie"].partition(";")[0]


# --- Host


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{port}", "localhost:{port}", "[::1]:{port}", "localhost", "127.0.0.1:8000"]
)
def test_it_answers_under_the_names_of_this_machine_on_any_port_as_a_tunnel_has_another(served, host: str):
    answer = served.ask("GET", "/api/session", headers={"Host": host.format(port=served.port)})
    assert answer.status == 200


@pytest.mark.parametrize(
    "host",
    [
        *("", "evil.com", "evil.com:{port}", "127.0.0.1.evil.com", "localhost.evil.com", "evil.com/127.0.0.1"),
        *("localhost.", "LOCALHOST", "0.0.0.0", "0.0.0.0:{port}", "[::ffff:127.0.0.1]", "[::]", "2130706433", "127.1"),
        *("0x7f.1", "127.0.0.1:99999", "127.0.0.1:", "127.0.0.1:80:80", "user@127.0.0.1", "127.0.0.1 evil.com", "::1"),
        *("127.0.0.1#evil.com", "127.0.0.1,evil.com", "127.0.0.2", "localhost%00.evil.com", "evil.com@localhost"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/session", "/assets/x.js"])
def test_it_answers_under_no_other_name_not_even_with_the_token(served, host: str, path: str):
    answer = served.ask("GET", path, headers={"Host": host.format(port=served.port)})
    assert answer.status in (400, 403)
    assert b"storage" not in answer.body


@pytest.mark.parametrize(
    "head",
    [
        "GET /api/session HTTP/1.1\r\n",
        "GET /api/session HTTP/1.1\r\nHost: {host}\r\nHost: evil.com\r\n",
        "GET /api/session HTTP/1.1\r\nHost: evil.com\r\nHost: {host}\r\n",
        "GET /api/session HTTP/1.0\r\n",
        "GET http://evil.com/api/session HTTP/1.1\r\nHost: {host}\r\n",
        "GET http://{host}/api/session HTTP/1.1\r\nHost: evil.com\r\n",
        "GET /api/session HTTP/1.1\r\nHost: evil.com\r\nX-Forwarded-Host: {host}\r\nForwarded: host={host}\r\n",
        "GET evil.com/api/session HTTP/1.1\r\nHost: {host}\r\n",
    ],
)
def test_no_head_of_a_request_makes_one_of_it(served, head: str):
    request = head.format(host=served.host) + f"Authorization: Bearer {served.token}\r\nConnection: close\r\n\r\n"
    said = served.raw(request.encode())
    assert b" 200 " not in said.split(b"\r\n")[0]
    assert str(served.folder).encode() not in said


def test_a_proxy_cannot_make_it_believe_in_another_client_or_name(served):
    forged = {"X-Forwarded-Host": "evil.com", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https"}
    assert served.ask("GET", "/api/session", headers=forged).status == 200
    assert served.ask("GET", "/api/session", headers=forged, token=None).status == 401


# --- Origin and Sec-Fetch-Site


ORIGINS = [
    *("null", "http://evil.com", "http://evil.com:{port}", "https://127.0.0.1:{port}", "http://127.0.0.1", ""),
    *("http://127.0.0.1:1", "http://localhost:{port}", "http://127.0.0.1:{port}.evil.com", "file://", "data:"),
    *("http://127.0.0.1:{port}/", "HTTP://127.0.0.1:{port}", "http://evil.com http://127.0.0.1:{port}", "ws://{host}"),
    *("chrome-extension://abcdef", "http://x127.0.0.1:{port}", "http://127.0.0.1:{port}@evil.com"),
]


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "PUT"])
def test_the_page_of_another_origin_changes_nothing_with_the_users_cookie(served, method: str, origin: str):
    sent = {
        "Cookie": cookie(served),
        "Origin": origin.format(port=served.port, host=served.host),
        "Sec-Fetch-Site": "same-origin",
    }
    before = content_of(served.folder / "storage")
    for route in CHANGING:
        answer = served.ask(method, route.path(), {}, token=None, headers=sent)
        assert (answer.status, answer.json["error"]) == (403, "forbidden")
    assert content_of(served.folder / "storage") == before


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", "", "SAME-ORIGIN", "same-origin, cross-site"])
@pytest.mark.parametrize("method", ALL_METHODS)
def test_what_the_browser_says_comes_from_another_site_is_refused(served, method: str, site: str):
    sent = {"Cookie": cookie(served), "Sec-Fetch-Site": site}
    answer = served.ask(method, "/api/session", token=None, headers=sent)
    # Who types an address has no page behind them: that may be looked at, and changes nothing.
    assert answer.status == (
        403 if method not in ("GET", "HEAD") or site != "none" else 405 if method == "HEAD" else 200
    )


@pytest.mark.parametrize("sent", [{}, {"User-Agent": "curl/8"}, {"Referer": "http://evil.com/"}])
def test_a_cookie_alone_changes_nothing(served, sent: dict[str, str]):
    for route in CHANGING:
        answer = served.ask("POST", route.path(), {}, token=None, headers={"Cookie": cookie(served), **sent})
        assert answer.status == 403


def test_the_own_page_may(served):
    sent = {"Cookie": cookie(served), "Origin": f"http://{served.host}", "Sec-Fetch-Site": "same-origin"}
    assert served.ask("POST", "/api/logout", token=None, headers=sent).status == 204


@pytest.mark.parametrize("value", [None, "0", "", "true", "1, 1"])
@pytest.mark.parametrize("route", CHANGING, ids=named)
def test_what_changes_something_has_a_header_that_no_form_can_send(served, route: Known, value: str | None):
    given = [("Content-Type", "application/json"), ("Authorization", f"Bearer {served.token}"), ("Host", served.host)]
    if value is not None:
        given.append(("X-Hypertuner", value))
    method = next(iter(route.methods))
    assert served.ask(method, route.path(), {}, headers=given, plain=True).status == 403


@pytest.mark.parametrize(
    "kind",
    [
        *("text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "application/xml", ""),
        *("text/json", "application/jsonp", "application/json, text/plain", "application/octet-stream"),
    ],
)
@pytest.mark.parametrize("route", CHANGING, ids=named)
def test_only_json_is_read(served, route: Known, kind: str):
    answer = served.ask(next(iter(route.methods)), route.path(), b'{"a": 1}', headers={"Content-Type": kind})
    assert answer.status == 415


def test_a_request_of_another_page_without_a_preflight_is_never_let_through(served):
    for route in GUARDED:
        sent = {"Origin": "http://evil.com", "Access-Control-Request-Method": "POST"}
        answer = served.ask("OPTIONS", route.path(), headers=sent)
        assert answer.status in (401, 403, 405)
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "sent",
    [
        [("Origin", "http://evil.com")],
        [("Origin", "null")],
        [("Sec-Fetch-Site", "cross-site")],
        [("Origin", "https://127.0.0.1:{port}")],
        [],  # with a cookie, and nothing that says which page it is
    ],
)
@pytest.mark.parametrize("route", SOCKETS, ids=named)
def test_no_page_but_the_own_opens_a_websocket_with_the_users_cookie(served, route: Known, sent):
    headers = [("Cookie", cookie(served)), *((name, value.format(port=served.port)) for name, value in sent)]
    assert open_socket(served, route.path(), headers).startswith(b"HTTP/1.1 403")
    own = [("Cookie", cookie(served)), ("Origin", f"http://{served.host}")]
    assert open_socket(served, route.path(), own).startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize("route", SOCKETS, ids=named)
def test_a_websocket_under_another_name_is_not_opened(served, route: Known):
    headers = [("Authorization", f"Bearer {served.token}")]
    assert not open_socket(served, route.path(), headers, host="evil.com").startswith(b"HTTP/1.1 101")


# --- what every answer says


@pytest.mark.parametrize("path", ["/", "/api/session", "/api/nothing", "/assets/nothing.js"])
@pytest.mark.parametrize("is_in", [True, False])
def test_every_answer_is_closed_to_other_pages(served, path: str, is_in: bool):
    headers = served.ask("GET", path, token="" if is_in else None).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["script-src"] == "'self'" or (path == "/" and policy["script-src"].startswith("'self' 'sha256-"))
    assert {policy[name] for name in ("object-src", "base-uri", "frame-ancestors")} == {"'none'"}
    assert "unsafe" not in headers["content-security-policy"]
    assert not [name for name in headers if name.startswith("access-control-")]


@pytest.mark.parametrize("tag", ["style", "script"])
def test_what_may_lie_in_the_document_is_what_does_and_nothing_else(served, tag: str):
    page = served.ask("GET", "/", token=None)
    if b"The page is not built" in page.body:
        pytest.skip("the page is not built: make web")
    (within,) = re.findall(rf"<{tag}(?![^>]* src=)[^>]*>(.*?)</{tag}>".encode(), page.body, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(within).digest()).decode()
    assert f"{tag}-src 'self' 'sha256-{digest}';" in page.headers["content-security-policy"]
    assert not re.search(rb"\s(style|on\w+)=", page.body)
    assert f"{tag}-src 'self';" in served.ask("GET", "/api/session").headers["content-security-policy"]


def test_every_readable_answer_of_every_route_has_them_too(served):
    for route in GUARDED:
        if "GET" in route.methods:
            headers = served.ask("GET", route.path()).headers
            assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
            assert "default-src" in headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/?next=http://evil.com", "/runs?next=//evil.com", "/api/login?next=http://evil.com"])
def test_nothing_leads_to_another_site(served, path: str):
    for method in ("GET", "POST"):
        answer = served.ask(method, path, {"token": served.token})
        assert "location" not in answer.headers
        assert answer.status not in range(300, 400)


# --- login


def test_the_cookie_is_for_this_page_alone(served):
    answer = served.ask("POST", "/api/login", {"token": served.token}, token=None)
    name, _, rest = answer.headers["set-cookie"].partition("=")
    assert name == f"hypertuner-{served.port}"
    assert served.token not in rest
    assert {"HttpOnly", "Path=/", "SameSite=strict"} <= {part.strip() for part in rest.split(";")}


def test_behind_a_tunnel_the_cookie_has_the_name_of_the_port_that_the_browser_sees(served):
    answer = served.ask("POST", "/api/login", {"token": served.token}, token=None, headers={"Host": "localhost:9000"})
    cookie = answer.headers["set-cookie"].partition(";")[0]
    assert cookie.startswith("hypertuner-9000=")
    sent = {"Host": "localhost:9000", "Cookie": cookie, "Sec-Fetch-Site": "same-origin"}
    assert served.ask("GET", "/api/session", token=None, headers=sent).status == 200


@pytest.mark.parametrize("scope", ["view", "edit"])
def test_a_shared_token_gives_a_cookie_that_allows_no_more(served, scope):
    answer = served.ask("POST", "/api/login", {"token": share(served, scope)}, token=None)
    sent = {"Cookie": answer.headers["set-cookie"].partition(";")[0], "Sec-Fetch-Site": "same-origin"}
    scopes = served.ask("GET", "/api/session", token=None, headers=sent).json["scopes"]
    assert scopes[-1] == scope


def test_a_cookie_is_no_token_and_a_token_no_cookie(served):
    value = cookie(served).partition("=")[2]
    assert served.ask("GET", "/api/session", token=value).status == 401
    as_cookie = {"Cookie": f"hypertuner-{served.port}={served.token}"}
    assert served.ask("GET", "/api/session", token=None, headers=as_cookie).status == 401


NEARLY = [
    *("Basic dXNlcjpwdw==", "Bearer", "Bearer ", "bearer x y", "Token {token}", "{token}", "Bearer {token}x"),
    *("Bearer {token} {token}", "Bearer \xe9", "Bearer {half}"),
]
NO_TOKENS = [{}, {"token": ""}, {"token": None}, {"token": ["x"]}, {"token": "x" * 600}, []]


def test_what_is_nearly_the_token_is_not(lone):
    for given in NEARLY:
        value = given.format(token=lone.token, half=lone.token[:20])
        assert lone.ask("GET", "/api/session", token=None, headers={"Authorization": value}).status == 401
    for asked in NO_TOKENS:
        answer = lone.ask("POST", "/api/login", asked, token=None)
        assert answer.status in (400, 401)
        assert "set-cookie" not in answer.headers


def test_twenty_wrong_tokens_a_minute_are_the_most_and_who_is_in_stays_in(lone):
    served = lone
    inside = {"Cookie": cookie(served), "Sec-Fetch-Site": "same-origin"}
    statuses = []
    for number in range(25):
        if number % 2:
            statuses.append(served.ask("POST", "/api/login", {"token": f"wrong-{number}"}, token=None).status)
        else:
            statuses.append(served.ask("GET", "/api/session", token=f"wrong-{number}").status)
    assert statuses == [401] * 20 + [429] * 5
    late = served.ask("POST", "/api/login", {"token": served.token}, token=None)
    assert (late.status, late.headers["retry-after"]) == (429, "60")
    assert "set-cookie" not in late.headers
    assert served.ask("GET", "/api/session", token=None, headers=inside).status == 200
