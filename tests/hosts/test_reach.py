"""Which requests come from a page of the server's own."""

import re
from types import SimpleNamespace

import pytest

from lib_rimo.hosts.reach import Reach, host_name, names_set, reach_of_webui

HERE = "127.0.0.1:7860"
REBOUND = "rebound.example:7860"  # a name of a stranger's that points to this machine
PROXY = "sd.example.org"

OWN = {
    "a program": {"host": HERE},
    "the page": {"host": HERE, "origin": f"http://{HERE}"},
    "localhost": {"host": "localhost:7860", "origin": "http://localhost:7860"},
    "IPv6": {"host": "[::1]:7860", "origin": "http://[::1]:7860"},
    "--listen": {"host": "192.168.1.20:7860", "origin": "http://192.168.1.20:7860"},
    "a name in the network": {"host": "desktop:7860", "origin": "http://desktop:7860"},
    "mDNS": {"host": "Desktop.local:7860", "origin": "http://desktop.local:7860"},
    "a final dot": {"host": "desktop.local.:7860", "origin": "http://desktop.local.:7860"},
    "--share": {"host": "0a1b.gradio.live", "origin": "https://0a1b.gradio.live"},
    "ngrok": {"host": "0a1b.ngrok-free.app"},
    "a proxy with TLS": {"host": PROXY, "origin": f"https://{PROXY}"},
    "its pictures": {"host": PROXY, "sec-fetch-site": "same-origin", "sec-fetch-mode": "no-cors"},
    "typed in": {"host": PROXY, "sec-fetch-site": "none", "sec-fetch-mode": "navigate"},
    "a proxy with its own Host": {
        "host": HERE,
        "origin": f"https://{PROXY}",
        "sec-fetch-site": "same-origin",
    },
    "the same, an old browser": {
        "host": HERE,
        "origin": f"https://{PROXY}",
        "x-forwarded-host": f"{PROXY}:443, inner",
    },
    "port 80": {"host": "desktop.lan", "origin": "http://desktop.lan:80"},
    "no Host at all": {},
}
FOREIGN = {
    "rebinding, reading": {"host": REBOUND},
    "rebinding": {"host": REBOUND, "origin": f"http://{REBOUND}"},
    "rebinding that lies of a proxy": {
        "host": REBOUND,
        "origin": f"http://{REBOUND}",
        "x-forwarded-host": HERE,
        "x-forwarded-proto": "https",
        "authorization": "Basic eDp5",
        "cookie": "access-token-x=y",
    },
    "a site that ends like ours": {"host": "127.0.0.1.example"},
    "another page": {"host": HERE, "origin": "https://evil.example"},
    "a file": {"host": HERE, "origin": "null"},
    "another port": {"host": HERE, "origin": "http://127.0.0.1:3000"},
    "another port, told": {"host": HERE, "sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
    "a form": {"host": HERE, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    "Referer alone": {"host": HERE, "referer": "http://evil.example/page"},
    "a wrong Host": {"host": "a b:7860"},
    "a URL for a Host": {"host": "http://localhost"},
}


@pytest.mark.parametrize("name", OWN)
def test_own_pages_and_programs_are_let_in(name):
    for method in ("GET", "POST", "DELETE"):
        assert Reach().fault(OWN[name], method) is None, method


@pytest.mark.parametrize("name", FOREIGN)
def test_pages_of_others_are_not(name):
    assert Reach().fault(FOREIGN[name], "POST") is not None


def test_a_foreign_page_may_link_here_and_nothing_else():
    link = {"host": HERE, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert Reach().fault(link, "GET") is None
    assert Reach().fault({**link, "sec-fetch-mode": "no-cors"}, "GET") is not None
    assert Reach().fault({"host": HERE, "origin": "http://evil.example"}, "GET") is not None
    assert Reach().fault({"host": HERE, "origin": "http://evil.example"}, "OPTIONS") is not None
    assert Reach().fault({"host": HERE, "referer": "http://evil.example"}, "GET") is None


def test_the_sentence_says_what_to_set(monkeypatch):
    told = str(Reach().fault({"host": "sd.home.example:7870"}))
    (setting,) = re.findall(r"RIMO_ALLOWED_HOSTS=\S+", told)
    monkeypatch.setenv(*setting.split("="))
    reach = Reach(names_set())
    assert reach.fault({"host": "sd.home.example:7870"}) is None
    # A proxy that writes its own Host, without TLS.
    assert reach.fault({"host": HERE, "origin": "http://sd.home.example"}) is None
    assert reach.fault({"host": REBOUND}) is not None


def test_what_a_webui_was_told_counts(monkeypatch):
    monkeypatch.delenv("RIMO_ALLOWED_HOSTS", raising=False)
    options = SimpleNamespace(
        server_name="sd.example.org",
        cors_allow_origins="https://a.example, http://b.example:3000",
        cors_allow_origins_regex=r"https://\w+\.c\.example",
    )
    reach = reach_of_webui(options, has_login=False)
    assert reach.fault({"host": "sd.example.org:7860"}) is None
    for origin in ("https://a.example", "http://b.example:3000", "https://x.c.example"):
        assert reach.fault({"host": HERE, "origin": origin}) is None
    for origin in ("http://a.example", "https://x.c.example.org", "https://b.example"):
        assert reach.fault({"host": HERE, "origin": origin}) is not None
    everybody = SimpleNamespace(cors_allow_origins="*")
    assert (
        reach_of_webui(everybody, has_login=False).fault({"host": HERE, "origin": "null"}) is None
    )


def test_behind_a_login_names_do_not_matter_but_origins_do():
    """A page under another name has no cookie of ours, and no password."""
    reach = Reach(has_login=True)
    for proof in ({"authorization": "Basic eDp5"}, {"cookie": "a=b; access-token-x=y"}):
        assert reach.fault({"host": PROXY, **proof}) is None
        assert reach.fault({"host": PROXY, "origin": "http://evil.example", **proof}) is not None
    assert reach.fault({"host": PROXY}) is not None


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("LocalHost:7860", "localhost"),
        ("[::1]:80", "::1"),
        ("[::1]", "::1"),
        ("[evil.example]", ""),
        ("a.example.", "a.example"),
        ("user@127.0.0.1", ""),
        ("127.0.0.1:80:80", ""),
        ("a/b", ""),
        ("", ""),
    ],
)
def test_names_are_read_off_strictly(place, name):
    assert host_name(place) == name
