"""What the Train tab and its API allow on a real WebUI that others can reach."""

import base64
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass

import pytest

from tests.webui.folder import ROOT
from tests.webui.server import PATIENCE, RefusedError, Server
from tests.webui.training import PICTURES, ask, open_tab

OUTSIDE = "outside of the folders that may be used"
LOGIN = ("page", "secret-of-the-page")
API_LOGIN = ("api", "secret-of-the-api")


@pytest.fixture(scope="module")
def listening(start):
    """A WebUI that other machines can reach."""
    return start(ROOT, arguments=["--listen"])


def test_own_pictures_can_be_used(listening):
    folder = ask(listening, "new_set")["set"]
    content = base64.b64encode((PICTURES / "1.png").read_bytes()).decode()
    added = ask(listening, "add", set=folder, files=[{"name": "1.png", "content": content}])
    assert [picture["name"] for picture in added["pictures"]] == ["1.png"]
    base = ask(listening, "open")["bases"][0]["path"]
    options = {"pretrained_model_name_or_path": base, "train_data_dir": folder}
    assert "error" not in ask(listening, "estimate", options=options)


def test_other_folders_cannot_be_read(listening):
    assert OUTSIDE in ask(listening, "pictures", set=str(PICTURES))["error"]
    link = listening.data / "rimo" / "pictures" / "link"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(PICTURES)
    assert OUTSIDE in ask(listening, "pictures", set=str(link))["error"]
    caption = (PICTURES / "1.txt").read_text()
    told = ask(listening, "caption", set=str(link), name="1.png", caption="changed")
    assert OUTSIDE in told["error"]
    assert (PICTURES / "1.txt").read_text() == caption
    link.unlink()


def test_nothing_outside_is_trained_on_or_written(listening, tmp_path):
    base = open_tab(listening)["bases"][0]["path"]
    folder = ask(listening, "new_set")["set"]
    foreign = tmp_path / "model.safetensors"
    foreign.write_bytes(b"")
    good = {
        "pretrained_model_name_or_path": base,
        "train_data_dir": folder,
        "output_name": "allowed",
    }
    for changed, sentence in [
        ({"train_data_dir": str(PICTURES)}, OUTSIDE),
        ({"reg_data_dir": str(PICTURES)}, OUTSIDE),
        ({"pretrained_model_name_or_path": str(foreign)}, OUTSIDE),
        ({"network_weights": str(foreign)}, OUTSIDE),
        ({"sample_prompts": str(PICTURES / "1.txt")}, OUTSIDE),
        ({"dataset_config": str(PICTURES / "1.toml")}, "dataset_config can name any folder"),
        ({"output_name": "../escaped"}, "output_name"),
    ]:
        with pytest.raises(RefusedError, match=sentence):
            listening._json("rimo/v1/jobs", {"options": {**good, **changed}})
    assert listening._json("rimo/v1/jobs") == []


@pytest.fixture(scope="module", params=["both", "the page's", "the API's"])
def guarded(request, start):
    """A WebUI whose page, API or both ask for a login, and whom it lets in."""
    page, api = request.param != "the API's", request.param != "the page's"
    arguments = [
        *(["--gradio-auth", ":".join(LOGIN)] if page else []),
        *(["--api-auth", ":".join(API_LOGIN)] if api else []),
    ]
    return Guarded(start(ROOT, arguments=arguments), page=page, api=api)


@dataclass
class Guarded:
    """A WebUI, and which of its parts ask for a login."""

    server: Server
    page: bool
    api: bool

    def allows(self, login):
        """Whether somebody with this login may use our API."""
        return (self.page and login == LOGIN) or (self.api and login == API_LOGIN)


def status(server, path, method="GET", body=None, login=None, cookie=None):
    """How the server answers."""
    headers = {"Content-Type": "application/json"}
    if login is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(':'.join(login).encode()).decode()}"
    if cookie is not None:
        headers["Cookie"] = cookie
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{server.url}/{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def log_in(server):
    """The cookie that the page's login gives."""
    form = urllib.parse.urlencode({"username": LOGIN[0], "password": LOGIN[1]}).encode()
    with urllib.request.urlopen(f"{server.url}/login", form, timeout=PATIENCE) as answer:
        cookies = answer.headers.get_all("Set-Cookie")
    return "; ".join(cookie.partition(";")[0] for cookie in cookies)


def test_without_a_login_our_api_is_refused(guarded):
    described = guarded.server._json("openapi.json")["paths"]
    ours = {path: methods for path, methods in described.items() if path.startswith("/rimo/")}
    assert len(ours) >= 6
    for path, methods in ours.items():
        address = re.sub(r"\{\w+\}", "x", path).lstrip("/")
        for method in methods:
            body = {"options": {}} if method == "post" else None
            assert status(guarded.server, address, method.upper(), body) == 401
    for login in (("api", "wrong"), (LOGIN[0], API_LOGIN[1]), ("", "")):  # more have to wait
        assert status(guarded.server, "rimo/v1/jobs", login=login) == 401


def test_the_host_guards_what_it_was_told_to(guarded):
    """The tab is as open as the page that it is on, our API never more open than the host's."""
    page = {"data": [json.dumps({"do": "open"})]}
    assert (status(guarded.server, "run/rimo_train", "POST", page) == 401) == guarded.page
    assert (status(guarded.server, "sdapi/v1/options") == 401) == guarded.api


@pytest.mark.parametrize("login", [LOGIN, API_LOGIN])
def test_with_a_login_the_api_answers(guarded, login):
    known = guarded.allows(login)
    assert status(guarded.server, "rimo/v1/jobs", login=login) == (200 if known else 401)
    assert status(guarded.server, "rimo/v1/jobs/none", login=login) == (404 if known else 401)


def test_whoever_has_logged_in_to_the_page_can_use_both(guarded):
    if not guarded.page:
        pytest.skip("the page asks for no login")
    cookie = log_in(guarded.server)
    assert status(guarded.server, "rimo/v1/jobs", cookie=cookie) == 200
    page = {"data": [json.dumps({"do": "open"})]}
    assert status(guarded.server, "run/rimo_train", "POST", page, cookie=cookie) == 200
