"""What the trainer is told by a WebUI, and what it tells it."""

import json
import sys
import threading
import traceback
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from lib_rimo.errors import UserError
from lib_rimo.hosts.model_memory import model_memory
from lib_rimo.hosts.training import check_folder, find_base_model
from lib_rimo.hosts.webui_training import WebUITraining, has_train_tab
from lib_rimo.inference.infotext import Settings
from lib_rimo.ui.train_server import TrainServer


def report(message, *, exc_info):
    """As both WebUIs have it, on the console."""
    print("***", message, traceback.format_exc() if exc_info else "", file=sys.stderr)


@pytest.fixture
def webui(tmp_path, monkeypatch):
    """A WebUI that others can reach, with a checkpoint that is a link to another folder."""
    for folder in ("elsewhere", "models", "loras"):
        (tmp_path / folder).mkdir()
    for path in ("elsewhere/large.safetensors", "elsewhere/other.safetensors"):
        (tmp_path / path).write_bytes(b"model")
    (tmp_path / "models/large.safetensors").symlink_to(tmp_path / "elsewhere/large.safetensors")
    (tmp_path / "loras/old.safetensors").symlink_to(tmp_path / "elsewhere/old.safetensors")
    (tmp_path / "elsewhere/old.safetensors").write_bytes(b"lora")
    # A link that the WebUI does not list, as it does not list what is no LoRA.
    (tmp_path / "loras/notes.safetensors").symlink_to(tmp_path / "elsewhere/other.safetensors")

    known = SimpleNamespace(filename=str(tmp_path / "models/large.safetensors"))
    listed = {"old": SimpleNamespace(filename=str(tmp_path / "loras/old.safetensors"))}
    modules = {
        "modules.shared": SimpleNamespace(
            cmd_opts=SimpleNamespace(
                lora_dir=str(tmp_path / "loras"), disable_extension_access=True
            )
        ),
        "modules.devices": SimpleNamespace(),
        "modules.errors": SimpleNamespace(report=report),
        "modules.sd_models": SimpleNamespace(
            checkpoints_list={"large": known}, select_checkpoint=lambda: known
        ),
        "modules.call_queue": SimpleNamespace(queue_lock=threading.Lock()),
        "modules.paths": SimpleNamespace(data_path=str(tmp_path)),
        "networks": SimpleNamespace(
            available_networks=listed,
            list_available_networks=listed.clear,  # what it does at first
            update_available_networks_by_names=lambda names: listed.update(dict.fromkeys(names)),
        ),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return WebUITraining()


def test_models_have_the_names_that_the_webui_lists(webui, tmp_path):
    path, other = tmp_path / "models/large.safetensors", tmp_path / "models/unknown.safetensors"
    webui.sd_models.checkpoints_list = {
        "title": SimpleNamespace(
            filename=str(path),
            name="old/large.safetensors",
            title="old/large.safetensors [abc]",
            ids=[None, "large", "abc"],
        ),
        "unnamed": SimpleNamespace(filename=str(other)),
    }
    named, unnamed = webui.base_models()
    assert (named.title, unnamed.title, unnamed.names) == ("old/large", "unknown", [])
    shown = ["old/large.safetensors", "old/large.safetensors [abc]", "large", "abc"]
    assert named.names == shown
    for asked in (*shown, "old/large", "large.safetensors", str(path)):
        assert find_base_model([named, unnamed], asked) is named


@pytest.mark.parametrize("path", ["models/large.safetensors", "loras/old.safetensors"])
def test_a_linked_model_of_the_webui_can_be_trained_on(webui, tmp_path, path):
    real = tmp_path / "elsewhere" / Path(path).name
    assert check_folder(tmp_path / path, webui, is_model=True) == real


def test_without_its_lora_extension_checkpoints_are_left(webui, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "networks")
    assert check_folder(tmp_path / "models/large.safetensors", webui, is_model=True)
    with pytest.raises(UserError, match="outside of the folders"):
        check_folder(tmp_path / "loras/old.safetensors", webui, is_model=True)


@pytest.mark.parametrize(
    ("path", "is_model"),
    [
        ("elsewhere/other.safetensors", True),
        ("elsewhere", True),
        ("models/large.safetensors", False),  # nothing that may be written
        ("loras/old.safetensors", False),
        ("loras/notes.safetensors", True),
    ],
)
def test_what_lies_beside_it_is_refused(webui, tmp_path, path, is_model):
    with pytest.raises(UserError, match="outside of the folders"):
        check_folder(tmp_path / path, webui, is_model=is_model)


def test_a_new_lora_is_found_and_the_others_stay_known(webui):
    webui.refresh("new")
    assert set(sys.modules["networks"].available_networks) == {"old", "new"}


def test_a_host_that_only_lists_all_files_finds_a_new_one_too(webui, monkeypatch):
    monkeypatch.delattr(sys.modules["networks"], "update_available_networks_by_names")
    webui.refresh("new")
    assert sys.modules["networks"].available_networks == {}  # listed anew, and the folder is empty


def test_what_a_host_lacks_is_not_offered(webui):
    assert webui.interrogators() == {}
    assert webui.logins() is None  # so that no API is opened that nobody guards


def calls_train_tabs():
    script_callbacks.ui_train_tabs_callback(None)  # noqa: F821 - read, not run


@pytest.mark.parametrize(("create_ui", "has_tab"), [(calls_train_tabs, True), (len, False)])
def test_a_train_tab_is_one_that_extensions_can_fill(monkeypatch, create_ui, has_tab):
    monkeypatch.setitem(sys.modules, "modules.ui", SimpleNamespace(create_ui=create_ui))
    assert has_train_tab() == has_tab


@pytest.mark.parametrize(
    "manager", ["backend.memory_management", "ldm_patched.modules.model_management", None]
)
def test_the_model_makes_room_by_what_the_host_has(webui, monkeypatch, manager):
    done = []
    webui.sd_models.send_model_to_cpu = done.append  # which Forge has too, and which does nothing
    webui.sd_models.send_model_to_device = done.append
    webui.sd_models.model_data = SimpleNamespace(sd_model="model")
    if manager is not None:
        module = SimpleNamespace(
            unload_all_models=lambda: done.append("all"), soft_empty_cache=lambda: None
        )
        monkeypatch.setitem(sys.modules, manager, module)
    model_memory().leave_gpu()
    assert done == (["model"] if manager is None else ["all"])
    model_memory().return_to_gpu()
    assert done == (["model", "model"] if manager is None else ["all"])


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ({"server_name": "127.0.0.1"}, []),
        ({"server_name": "::1"}, []),
        ({"server_name": "localhost"}, []),
        ({"server_name": "0.0.0.0", "share": True}, ["--share", "--server-name 0.0.0.0"]),
        ({"server_name": "127.0.0.1", "listen": True}, ["--listen"]),
        ({"server_name": "example.org"}, ["--server-name example.org"]),
        ({"ngrok": "token"}, ["--ngrok"]),
    ],
)
def test_the_flag_that_lets_others_in_is_named(webui, tmp_path, given, flags):
    vars(webui.shared.cmd_opts).update(given)
    if not flags:
        assert webui.open_folders() is None
        return
    with pytest.raises(UserError, match=f"start the WebUI without {', '.join(flags)}[.]$"):
        check_folder(tmp_path / "elsewhere", webui)


class Interrogators:
    """The WebUI's: with models, and without a network to get them from."""

    def __init__(self, monkeypatch, webui):
        self.offline, self.answer = False, "1girl, hat"
        webui.shared.interrogator = SimpleNamespace(interrogate=self.interrogate)
        deepbooru = SimpleNamespace(model=SimpleNamespace(tag=self.tag))
        monkeypatch.setitem(sys.modules, "modules.deepbooru", deepbooru)

    def tag(self, image):
        """Miss the file, the download of which failed unheard."""
        assert image.mode == "RGB"
        return [self.answer][1 if self.offline else 0]

    def interrogate(self, image):
        """Catch everything that goes wrong, and say so in the caption."""
        try:
            return self.tag(image)
        except IndexError:
            return "<error>"


@pytest.fixture
def interrogators(webui, monkeypatch, tmp_path):
    Image.new("RGBA", (8, 8)).save(tmp_path / "1.png")
    return Interrogators(monkeypatch, webui)


@pytest.mark.parametrize("name", ["DeepBooru", "CLIP"])
def test_a_caption_is_proposed_or_it_is_said_why_not(webui, interrogators, tmp_path, capsys, name):
    propose = webui.interrogators()[name]
    assert propose(tmp_path / "1.png") == "1girl, hat"
    interrogators.offline = True
    with pytest.raises(UserError) as told:
        propose(tmp_path / "1.png")
    assert str(told.value) == (
        "The WebUI could not caption 1.png: it downloads the model for that when it is first used, "
        "so check the network connection; its console says more."
    )
    assert "no caption for" in capsys.readouterr().err
    assert not webui.lock.locked()


def test_half_a_caption_is_none(webui, interrogators, tmp_path):
    interrogators.answer = "a girl with a hat, by somebody<error>"  # what CLIP had until it failed
    with pytest.raises(UserError, match=r"could not caption 1\.png"):
        webui.interrogators()["CLIP"](tmp_path / "1.png")


@pytest.mark.parametrize("name", ["DeepBooru", "CLIP"])
def test_a_proposal_that_fails_writes_nothing(webui, interrogators, tmp_path, name):
    server = TrainServer(webui)
    folder = webui.home / "pictures" / "set-01"
    folder.mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(folder / "1.png")
    interrogators.offline = True
    asked = {"do": "interrogate", "set": str(folder), "name": "1.png", "with": name}
    reply = json.loads(server.answer(json.dumps(asked)))
    assert reply.keys() == {"error", "messages"}
    assert [path.name for path in folder.iterdir()] == ["1.png"]


class Pipeline:
    """A WebUI's options, its state, and a pipeline that a user interrupts now and then."""

    def __init__(self, monkeypatch, webui):
        self.interruptions, self.jobs, self.closed = 0, [], 0
        self.interrupted = self.skipped = False
        self.begun = self.ended = 0
        self.infotexts = []
        self.options = SimpleNamespace(
            CLIP_stop_at_last_layers=1,
            sd_model_checkpoint="large",
            forge_additional_modules=[],
            theme="dark",
            data_labels={
                "CLIP_stop_at_last_layers": SimpleNamespace(infotext="Clip skip"),
                "sd_model_checkpoint": SimpleNamespace(infotext="Model"),
                "forge_additional_modules": SimpleNamespace(infotext=None),
                "theme": SimpleNamespace(infotext=None),
            },
        )
        webui.shared.opts, webui.shared.state = self.options, self
        self.given = webui.shared.cmd_opts
        processing = SimpleNamespace(
            StableDiffusionProcessingTxt2Img=self.job, process_images=self.process_images
        )
        webui.shared.sd_model = "model"
        monkeypatch.setitem(sys.modules, "modules.processing", processing)
        scripts = SimpleNamespace(ScriptRunner=lambda: SimpleNamespace(alwayson_scripts=[]))
        monkeypatch.setitem(sys.modules, "modules.scripts", scripts)

    def begin(self, job):
        self.begun += 1
        self.interrupted = self.skipped = False

    def end(self):
        self.ended += 1

    def job(self, **settings):
        def close():
            self.closed += 1

        return SimpleNamespace(**{"scripts": None, **settings}, close=close)

    def process_images(self, job):
        """Half a picture, or none, where it is interrupted."""
        # As reForge does, whoever draws; and no script of the page may change a picture of ours.
        assert not list(job.scripts.alwayson_scripts)
        if self.interrupted:
            return SimpleNamespace(images=[])
        self.jobs.append(job)
        if not self.given.no_prompt_history:
            self.infotexts.append(job.prompt)
        half = self.interruptions > 0
        self.interruptions -= half
        self.interrupted, self.skipped = half and self.interruptions % 2 == 0, half
        return SimpleNamespace(images=[Image.new("RGB", (8, 8), "black" if half else "red")])


@pytest.fixture
def pipeline(monkeypatch, webui):
    return Pipeline(monkeypatch, webui)


def test_the_model_is_brought_back_for_each_picture(webui, pipeline):
    held = []
    webui.pipeline.before_picture = lambda: held.append((webui.lock.locked(), len(pipeline.jobs)))
    webui.draw_picture(Settings(), Path("large"))
    webui.draw_picture(Settings(), Path("large"))
    assert held == [(True, 0), (True, 1)]


def test_a_picture_that_was_interrupted_is_drawn_again(webui, pipeline):
    pipeline.interrupted = True  # what a user did to a picture before
    settings = Settings(prompt="1girl", seed=5)
    assert webui.draw_picture(settings, Path("large")).getpixel((0, 0)) == (255, 0, 0)
    pipeline.interruptions = 2
    assert webui.draw_picture(settings, Path("large")).getpixel((0, 0)) == (255, 0, 0)
    assert len(pipeline.jobs) == pipeline.closed == pipeline.begun == pipeline.ended == 4
    pipeline.interruptions = 100
    with pytest.raises(UserError, match="was interrupted"):
        webui.draw_picture(settings, Path("large"))
    assert not webui.lock.locked()
    # The page's button for the last picture's settings still brings back the user's own.
    assert pipeline.infotexts == []
    assert not webui.shared.cmd_opts.no_prompt_history


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CLIP_stop_at_last_layers", 2, "Clip skip"),
        ("forge_additional_modules", ["vae"], "forge_additional_modules"),
        ("sd_model_checkpoint", "large [1234]", None),  # as it is called once it is loaded
        ("theme", "light", None),
    ],
)
def test_pictures_are_drawn_under_the_same_options_or_not(webui, pipeline, name, value, said):
    before = webui.picture_options()
    setattr(pipeline.options, name, value)
    if said is None:
        assert webui.picture_options() == before
        assert webui.draw_picture(Settings(), Path("large"), before)
        return
    assert webui.picture_options() != before
    with pytest.raises(UserError, match=f"^{said} changed in the WebUI"):
        webui.draw_picture(Settings(), Path("large"), before)
    assert pipeline.jobs == []
    assert webui.draw_picture(Settings(), Path("large"))  # of a plot, whose options nobody keeps


def test_another_checkpoint_is_no_picture_of_the_first(webui, pipeline, monkeypatch):
    before = webui.picture_options()
    other = SimpleNamespace(filename="other.safetensors")
    monkeypatch.setattr(webui.sd_models, "select_checkpoint", lambda: other)
    with pytest.raises(UserError, match=r"^Model changed in the WebUI"):
        webui.draw_picture(Settings(), Path("large"), before)
