"""Who is let in to the page, to all of Gradio's routes, to our events and to the API."""

import base64
import json
import time

import pytest

fastapi = pytest.importorskip("fastapi")
pytest.importorskip("gradio")

from fastapi.testclient import TestClient  # noqa: E402

from lib_rimo.commands.ui import read_login  # noqa: E402
from lib_rimo.errors import UserError  # noqa: E402
from lib_rimo.hosts.reach import Reach  # noqa: E402
from lib_rimo.hosts.standalone import Standalone  # noqa: E402
from lib_rimo.ui.access import AccessMiddleware, Guard, Guesses  # noqa: E402
from lib_rimo.ui.gradio_compat import run_url  # noqa: E402
from tests.ui.application import application  # noqa: E402

HERE = "http://127.0.0.1:7870"
EVENT = run_url("rimo_train").removeprefix(".")
ASKED = {"data": [json.dumps({"do": "new_set"})]}
# A page of evil.example after its name was made to point here, and one that kept its own address.
REBOUND = {"host": "evil.example:7870", "origin": "http://evil.example:7870"}
FOREIGN = {"origin": "http://evil.example"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def page(home):
    return TestClient(application(Standalone(home)), base_url=HERE)


@pytest.fixture
def made(home):
    def count():
        return len(list(home.glob("pictures/*")))

    return count


def test_the_page_works(page, made):
    before = made()
    assert page.post(EVENT, json=ASKED, headers={"origin": HERE}).status_code == 200
    assert page.post(EVENT, json=ASKED).status_code == 200  # a program
    assert made() == before + 2
    assert page.get("/config").status_code == 200


@pytest.mark.parametrize("headers", [REBOUND, FOREIGN], ids=["rebound", "foreign"])
def test_dns_rebinding_and_foreign_pages_reach_nothing(page, made, headers):
    before = made()
    picture = {"files": ("1.png", b"picture")}
    asked = [
        page.post(EVENT, json=ASKED, headers=headers),
        page.post("/gradio_api/run/predict", json={**ASKED, "fn_index": 0}, headers=headers),
        page.post("/gradio_api/queue/join", json={**ASKED, "fn_index": 0}, headers=headers),
        page.post("/gradio_api/upload", files=picture, headers=headers),
        page.post("/gradio_api/reset", headers=headers),  # without a body
        page.post("/rimo/v1/jobs/some/stop", headers=headers),
        page.post("/login", data={"username": "a", "password": "b"}, headers=headers),
        page.get("/rimo/v1/jobs", headers=headers),
        page.get("/config", headers=headers),
        page.get("/gradio_api/file=/etc/passwd", headers=headers),
        page.get("/", headers=headers),
        page.options(EVENT, headers={**headers, "access-control-request-method": "POST"}),
    ]
    assert [reply.status_code for reply in asked] == [403] * len(asked)
    assert made() == before
    assert not any("access-control-allow-origin" in reply.headers for reply in asked)


def test_no_preflight_lets_a_foreign_page_speak_of_a_proxy(page):
    """Gradio would answer that any header may be sent, where the page is reached by an address."""
    headers = {
        "host": "192.168.1.20:7870",
        "origin": "http://evil.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-forwarded-host",
    }
    assert page.options(EVENT, headers=headers).status_code == 403


@pytest.fixture(scope="module")
def in_webui(tmp_path_factory):
    """Our tab in an application whose other routes are not ours to close."""
    host = Standalone(tmp_path_factory.mktemp("home"))
    return TestClient(application(host, refuses=False), base_url=HERE)


@pytest.mark.parametrize("headers", [REBOUND, FOREIGN], ids=["rebound", "foreign"])
@pytest.mark.parametrize("event", ["rimo_train", "rimo_panel"])
def test_in_a_webui_our_events_and_api_are_closed(in_webui, headers, event):
    url = run_url(event).removeprefix(".")
    # As Gradio 3 would take them for the visitor's.
    body = {"data": ["{}"], "request": {"headers": {"host": "127.0.0.1:7870"}}}
    assert "evil" not in in_webui.post(url, json=body).text
    told = in_webui.post(url, json=body, headers=headers).json()["data"][0]
    assert "RIMO_ALLOWED_HOSTS=evil.example" in told
    assert in_webui.get("/rimo/v1/jobs", headers=headers).status_code == 403
    assert in_webui.post("/rimo/v1/jobs/some/stop", headers=headers).status_code == 403
    assert in_webui.get("/config", headers=headers).status_code == 200


@pytest.fixture(scope="module")
def with_login(tmp_path_factory):
    host = Standalone(tmp_path_factory.mktemp("home"), has_login=True)
    guard = Guard({"rimo": "пароль é"}, reach=host.reach)
    return TestClient(application(host, guard), base_url="https://127.0.0.1:7870")


def basic(user, password, encoding="utf-8"):
    code = base64.b64encode(f"{user}:{password}".encode(encoding)).decode()
    return {"authorization": f"Basic {code}"}


def test_passwords_of_any_script(with_login):
    for password in ("пароль é", "пароль e\u0301"):  # composed or not
        good = with_login.post("/login", data={"username": "rimo", "password": password})
        assert good.status_code == 200
        with_login.cookies.clear()
        assert with_login.get("/rimo/v1/jobs", headers=basic("rimo", password)).status_code == 200
    for wrong in (basic("rimo", "пароль e"), basic("other", "пароль é"), {}):
        assert with_login.get("/rimo/v1/jobs", headers=wrong).status_code == 401
    for broken in ("Basic", "Basic !", "Basic eA==", "Bearer x", "Basic \u00ff"):
        headers = {"authorization": broken.encode("latin-1")}
        assert with_login.get("/rimo/v1/jobs", headers=headers).status_code == 401


def test_latin_1_is_understood():
    assert Guard({"a": "é"}).is_right("a", "é")
    app = fastapi.FastAPI(dependencies=[fastapi.Depends(Guard({"a": "é"}))])
    app.get("/")(lambda: {})
    client = TestClient(app)
    assert client.get("/", headers=basic("a", "é", "latin-1")).status_code == 200


def test_a_session_of_the_page_opens_the_api(home):
    guard = Guard({"a": "b"}, lambda request: "access-token-x" in request.cookies)
    app = fastapi.FastAPI(dependencies=[fastapi.Depends(guard)])
    app.get("/")(lambda: {})
    assert TestClient(app).get("/").status_code == 401
    assert TestClient(app, cookies={"access-token-x": "y"}).get("/").status_code == 200


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_guesses_slow_down_for_their_address_alone():
    clock = Clock()
    guesses = Guesses(clock)
    made = 0
    for _ in range(1000):  # an attacker who waits as long as is asked for, for an hour
        wait = guesses.delay("10.0.0.1")
        made += wait != float("inf")
        clock.now += min(wait, 60.0)
        if clock.now > 3700:
            break
    assert made < 75
    assert guesses.delay("10.0.0.2") == 0
    # A household has as many addresses of IPv6 as it likes.
    for number in range(20):
        last = guesses.delay(f"2001:db8::{number:x}")
    assert last > 0
    assert guesses.delay("2001:db8:0:1::1") == 0


def test_who_logs_in_and_who_comes_back_later_is_not_slowed():
    clock = Clock()
    guesses = Guesses(clock)
    for _ in range(50):
        assert guesses.delay("10.0.0.1") == 0
        guesses.forgive("10.0.0.1")
    while guesses.delay("10.0.0.1") == 0:
        pass
    clock.now += 2000
    assert guesses.delay("10.0.0.1") == 0


def test_addresses_do_not_fill_the_memory():
    guesses = Guesses()
    for number in range(Guesses.MOST_ADDRESSES + 500):
        guesses.delay(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(guesses._next) == Guesses.MOST_ADDRESSES


@pytest.mark.parametrize("route", ["/login", "/rimo/v1/jobs"])
def test_the_page_and_the_api_refuse_many_wrong_passwords(tmp_path, route):
    app = fastapi.FastAPI()
    guard = Guard({"a": "b"})
    guard.guesses.MOST_WAITING = 0.0

    @app.get("/rimo/v1/jobs", dependencies=[fastapi.Depends(guard)])
    def jobs():
        return []

    @app.post("/login")
    def log_in(request: fastapi.Request):
        raise fastapi.HTTPException(400)

    app = AccessMiddleware(app, Reach, refuses=True, guesses=guard.guesses)
    client = TestClient(app)
    began = time.monotonic()

    def guess():
        if route == "/login":
            return client.post(route).status_code
        return client.get(route, headers=basic("a", "wrong")).status_code

    codes = [guess() for _ in range(20)]
    assert codes[:4] == [400 if route == "/login" else 401] * 4
    assert codes.count(429) >= 10 or time.monotonic() - began > 5


@pytest.mark.parametrize(
    ("given", "password", "login"),
    [
        (None, "", None),
        ("a:b:c", "", ("a", "b:c")),
        ("a:b", "c", ("a", "b")),
        ("ä", "c:d", ("ä", "c:d")),
        (None, "c", ("rimo", "c")),
    ],
)
def test_a_password_comes_from_the_environment_too(given, password, login):
    assert read_login(given, password) == login


@pytest.mark.parametrize("given", ["a", "a:", ":b", "", " : "])
def test_half_a_login_is_refused(given):
    with pytest.raises(UserError, match="needs a user and a password"):
        read_login(given, "")


def test_an_open_page_asks_for_a_login_or_for_insecure(monkeypatch, tmp_path):
    import os

    from lib_rimo.__main__ import main
    from lib_rimo.ui import standalone

    served = []
    monkeypatch.setattr(standalone, "serve", lambda host, port, login, **_: served.append(login))
    monkeypatch.setenv("RIMO_ENVIRONMENT", "current")
    home = ["--home", str(tmp_path)]
    assert main(["ui", "--listen", *home]) == 2
    assert main(["ui", "--listen", "--insecure", *home]) == 0
    assert main(["ui", "--listen", "--auth", "a:b", *home]) == 0
    monkeypatch.setenv("RIMO_PASSWORD", "geheim")
    assert main(["ui", "--listen", *home]) == 0
    assert "RIMO_PASSWORD" not in os.environ  # trainings do not inherit it
    assert served == [None, ("a", "b"), ("rimo", "geheim")]
