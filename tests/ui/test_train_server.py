"""What the Train tab's page can ask, and what it is refused."""

import base64
import dataclasses
import json
import os
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from lib_rimo.environment import ROOT
from lib_rimo.errors import UserError
from lib_rimo.hosts.standalone import Standalone
from lib_rimo.sd.embedded import MODEL
from lib_rimo.training.augment.augmentation import augment
from lib_rimo.training.config.built_in import BACKGROUNDS_KEPT, BUILT_IN
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.ui.comparison import Comparison, evenly
from lib_rimo.ui.outcomes import MOST
from lib_rimo.ui.settings import HIDDEN_OPTIONS
from lib_rimo.ui.train_server import TrainServer
from lib_rimo.ui.trial import try_prompt
from tests.training.conftest import (  # fixtures
    narrow_sd1,  # noqa: F401
    options,  # noqa: F401
    pictures,  # noqa: F401
    small_training,  # noqa: F401
)

LORA = ROOT / "tests" / "demo" / "rimochan.safetensors"


@pytest.fixture
def server(tmp_path):
    return TrainServer(Standalone(tmp_path / "home"))


@pytest.fixture
def shared_server(tmp_path, narrow_sd1):  # noqa: F811
    return TrainServer(Standalone(tmp_path / "home", [narrow_sd1.parent], is_shared=True))


def ask(server, what, **request):
    return json.loads(server.answer(json.dumps({"do": what, **request})))


def drop(server, folder):
    """Drop a folder's files in, as the page does."""
    new = ask(server, "new_set")["set"]
    for path in sorted(folder.iterdir()):
        content = base64.b64encode(path.read_bytes()).decode()
        reply = ask(server, "add", set=new, files=[{"name": path.name, "content": content}])
        assert reply["refused"] == []
    return new, reply["pictures"]


def test_every_option_is_a_field_or_the_pages_own(server):
    opened = ask(server, "open")
    fields = {option["name"] for option in opened["options"]}
    assert fields | HIDDEN_OPTIONS == {field.name for field in dataclasses.fields(TrainingOptions)}
    assert all(
        option["help"] and option["group"] in opened["groups"] for option in opened["options"]
    )
    assert opened["recipes"]["few pictures"]["network_alpha"] == 2.0


def test_dropped_pictures_with_captions(server, pictures):  # noqa: F811
    new, shown = drop(server, pictures)
    assert [picture["name"] for picture in shown] == [f"{number}.png" for number in range(5)]
    assert shown[0]["caption"].startswith("rimochan, 1girl")
    assert shown[0]["thumbnail"].startswith("data:image/jpeg;base64,")
    ask(server, "caption", set=new, name="1.png", caption="rimochan,  hat\n")
    assert (Path(new) / "1.txt").read_text() == "rimochan, hat\n"
    left = ask(server, "remove", set=new, name="2.png")["pictures"]
    assert [picture["name"] for picture in left] == ["0.png", "1.png", "3.png", "4.png"]
    assert not (Path(new) / "2.txt").exists()
    assert ask(server, "open")["sets"] == [new]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("evil.py", b"print()", "neither a picture nor a caption"),
        ("broken.png", b"not a picture", "cannot be read"),
    ],
)
def test_other_files_are_not_taken(server, name, content, said):
    new = ask(server, "new_set")["set"]
    file = {"name": name, "content": base64.b64encode(content).decode()}
    reply = ask(server, "add", set=new, files=[file])
    assert said in reply["refused"][0]["text"]
    assert reply["refused"][0]["about"] == name
    assert list(Path(new).iterdir()) == []


def test_a_dropped_file_stays_in_its_folder(server, pictures):  # noqa: F811
    new = ask(server, "new_set")["set"]
    content = base64.b64encode((pictures / "0.png").read_bytes()).decode()
    ask(server, "add", set=new, files=[{"name": "../../../out.png", "content": content}])
    assert [path.name for path in Path(new).iterdir()] == ["out.png"]


def test_a_folder_of_the_users_is_shown_but_nothing_deleted(server, pictures):  # noqa: F811
    reply = ask(server, "pictures", set=str(pictures))
    assert (len(reply["pictures"]), reply["own"]) == (5, False)
    assert "yours" in ask(server, "remove", set=str(pictures), name="0.png")["error"]
    assert (pictures / "0.png").exists()


def test_recipes_are_kept_without_what_they_were_for(server):
    given = {"network_dim": "4", "output_name": "mine", "unet_lr": "1e-4", "flip_aug": True}
    recipes = ask(server, "save_recipe", name="small", options=given)["recipes"]
    assert list(recipes) == [*BUILT_IN, "small"]
    assert recipes["small"]["network_dim"] == 4
    assert recipes["small"]["flip_aug"] is True
    assert "output_name" not in recipes["small"]
    for name in ("", "../up", "a/b", ".hidden", *BUILT_IN):
        assert "cannot name a recipe" in ask(server, "save_recipe", name=name, options={})["error"]


def test_kohyas_files_are_read(server):
    content = '[network]\nnetwork_module = "networks.lora"\nnetwork_dim = 8\nunknown_one = 3\n'
    reply = ask(server, "load_file", name="kohya.toml", content=content)
    assert reply["options"]["network_dim"] == 8
    unknown, left_open = (message["text"] for message in reply["messages"])
    assert unknown == "unknown_one = 3 is not known here and was left out."
    assert "network_alpha 2 (kohya's trainer: 1)" in left_open
    assert "not valid" in ask(server, "load_file", name="x.json", content="{")["error"]


def test_the_estimate_says_that_nothing_was_measured(server, narrow_sd1):  # noqa: F811
    given = {"pretrained_model_name_or_path": str(narrow_sd1), "resolution": "64"}
    reply = ask(server, "estimate", options=given)
    assert reply["fits"]
    assert reply["text"].startswith("Very roughly")
    twice = ask(server, "estimate", options={**given, "max_train_steps": "2000"})
    assert twice["seconds"] == pytest.approx(2 * reply["seconds"])


def test_what_cannot_be_trained_is_not_queued(server, narrow_sd1, pictures):  # noqa: F811
    given = {
        "pretrained_model_name_or_path": str(narrow_sd1),
        "train_data_dir": str(pictures),
        "output_name": "x",
    }
    for change, said in (
        ({"network_dim": "0"}, "network_dim is 0: use at least 1"),
        ({"output_name": "../up"}, "output_name is"),
        ({"train_data_dir": ""}, "No pictures"),
        ({"pretrained_model_name_or_path": "/nowhere.safetensors"}, "no base model"),
    ):
        assert said in ask(server, "train", options={**given, **change})["error"]
    assert ask(server, "jobs")["jobs"] == []


def test_a_shared_page_stays_in_its_folders(shared_server, tmp_path, pictures, narrow_sd1):  # noqa: F811
    server = shared_server
    home = tmp_path / "home"
    new, _ = drop(server, pictures)
    assert "error" not in ask(server, "pictures", set=new)
    (home / "pictures" / "link").symlink_to(pictures)
    for place in (pictures, home / "pictures" / "link", Path(new) / ".." / ".." / "..", "/etc"):
        assert "outside of the folders" in ask(server, "pictures", set=str(place))["error"]
    given = {
        "pretrained_model_name_or_path": str(narrow_sd1),
        "train_data_dir": new,
        "output_name": "x",
    }
    (tmp_path / "secret.txt").write_text("secret")
    for change in (
        {"train_data_dir": str(pictures)},
        {"reg_data_dir": str(home / "pictures" / "link")},
        {"network_weights": str(tmp_path / "one.safetensors")},
        {"sample_prompts": str(tmp_path / "secret.txt")},
        {"sample_prompts": str(tmp_path / "secret.txt") + "/"},
        {"train_data_dir": str(narrow_sd1.parent)},  # for models, not for pictures
    ):
        reply = ask(server, "train", options={**given, **change})
        assert "outside of the folders" in reply["error"], change
    assert ask(server, "jobs")["jobs"] == []


def test_models_that_are_links_are_used_where_the_page_is_shared(
    shared_server,
    tmp_path,
    pictures,  # noqa: F811
    narrow_sd1,  # noqa: F811
    monkeypatch,
):
    server = shared_server
    monkeypatch.setattr(server.queue, "ensure_running", lambda: None)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("model", "lora", "other"):  # as a cache of downloads names its files
        (elsewhere / name).write_bytes((LORA if name == "lora" else narrow_sd1).read_bytes())
    models, loras = server.host.home / "models", server.host.lora_folder
    for folder, name in ((models, "model"), (loras / "below", "lora")):
        folder.mkdir(parents=True)
        (folder / f"{name}.safetensors").symlink_to(elsewhere / name)
    new, _ = drop(server, pictures)
    given = {
        "pretrained_model_name_or_path": str(models / "model.safetensors"),
        "network_weights": str(loras / "below" / "lora.safetensors"),
        "train_data_dir": new,
        "output_name": "x",
    }
    job = server.queue.job(ask(server, "train", options=given)["job"])
    for option in ("pretrained_model_name_or_path", "network_weights"):
        assert getattr(job.options, option) == given[option]  # a name that says what it is

    (Path(new) / "mine.safetensors").symlink_to(elsewhere / "other")
    for path in (Path(new) / "mine.safetensors", elsewhere / "other.safetensors", elsewhere):
        for option in ("pretrained_model_name_or_path", "network_weights"):
            refused = ask(server, "train", options={**given, option: f"{path}/x.safetensors"})
            assert "outside of the folders" in refused["error"]
    refused = ask(server, "train", options={**given, "network_weights": f"{new}/mine.safetensors"})
    assert "outside of the folders" in refused["error"]


def test_a_shared_page_opens_no_dataset_config(shared_server, tmp_path):
    secret = tmp_path / "secret.toml"
    secret.write_text("password = swordfish\n")  # not valid TOML: an error would quote it
    asked = {"dataset_config": str(secret)}
    for what, request in (
        ("train", {"options": asked}),
        ("train", {"options": {"section": asked}}),
        ("estimate", {"options": asked}),
        ("save_recipe", {"name": "theirs", "options": asked}),
        ("load_file", {"name": "x.json", "content": json.dumps(asked)}),
    ):
        assert "dataset_config can name any folder" in ask(shared_server, what, **request)["error"]


@pytest.mark.parametrize("option", ["pretrained_model_name_or_path", "network_weights"])
def test_only_safetensors_are_loaded(server, narrow_sd1, pictures, tmp_path, option):  # noqa: F811
    pickled = tmp_path / "theirs.ckpt"
    pickled.write_bytes(b"anything")
    given = {
        "pretrained_model_name_or_path": str(narrow_sd1),
        "train_data_dir": str(pictures),
        "output_name": "x",
        option: str(pickled),
    }
    assert "not a .safetensors model" in ask(server, "train", options=given)["error"]


def test_the_embedded_model_brings_what_its_size_asks_for(server):
    bases = {base["title"]: base["options"] for base in ask(server, "open")["bases"]}
    if "rimo-base" not in bases:
        pytest.skip("needs the embedded model")
    assert bases["rimo-base"]["resolution"] == "128,192"
    assert bases["rimo-base"]["unet_lr"] > TrainingOptions().unet_learning_rate


def test_a_jobs_made_pictures_stay_as_they_are(
    server,
    options,  # noqa: F811
    pictures,  # noqa: F811
    monkeypatch,
):
    monkeypatch.setattr(server.queue, "ensure_running", lambda: None)
    ask(server, "pictures", set=str(pictures))
    asked = {"set": str(pictures), "count": 6, "seed": 1, "name": "x", "resolution": "64"}
    made = ask(server, "augment", **asked)
    assert ask(server, "augment", **asked)["set"] == made["set"]  # no job needs the first ones
    options.train_data_dir = made["set"]
    server.queue.add(options)
    thrown_out = made["pictures"][0]["name"]
    left = ask(server, "discard", set=made["set"], name=thrown_out)
    assert len(left["pictures"]) == 5
    assert len(ask(server, "pictures", set=made["set"])["pictures"]) == 6
    assert ask(server, "augment", **asked)["set"] != made["set"]
    assert len(ask(server, "pictures", set=made["set"])["pictures"]) == 6


def test_made_pictures_that_somebody_would_miss_are_kept(server, pictures, tmp_path):  # noqa: F811
    other = shutil.copytree(pictures, tmp_path / "elsewhere" / pictures.name)
    first = server.pictures._folder_for_made(pictures.name, pictures)
    augment(pictures, first, count=5, resolution="64")
    assert server.pictures._folder_for_made(pictures.name, pictures) == first
    second = server.pictures._folder_for_made(other.name, other)
    assert second != first  # of another folder of the same name
    caption = next(first.rglob("*.txt"))
    caption.write_text("edited")
    assert server.pictures._folder_for_made(pictures.name, pictures) == second
    augment(other, second, count=5, resolution="64")
    next(second.rglob("1_*/*.png")).unlink()  # thrown out
    third = server.pictures._folder_for_made(other.name, other)
    assert third not in (first, second)


def test_only_made_pictures_are_thrown_out(server, pictures):  # noqa: F811
    ask(server, "pictures", set=str(pictures))
    reply = ask(server, "discard", set=str(pictures), name="0.png")
    assert "made here" in reply["error"]
    assert (pictures / "0.png").exists()


def test_a_full_disk_is_said(server, pictures, monkeypatch):  # noqa: F811
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    new, _ = drop(server, pictures)
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        reply = ask(server, "caption", set=new, name="1.png", caption="hat")
        assert reply["error"] == (
            f"The disk is full, 1.txt could not be written: make room on the disk of {new}."
        )
    assert (Path(new) / "1.txt").read_text() != "hat\n"
    monkeypatch.setattr("pathlib.Path.mkdir", full)
    assert ask(server, "new_set")["error"] == "The disk is full: make room."


def test_jobs_wait_for_room(server, options, monkeypatch):  # noqa: F811
    started = []
    monkeypatch.setattr(server.queue, "ensure_running", lambda: started.append(1))
    server.queue.add(options)
    started.clear()
    for free in (0, 1_000_000_000):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr("shutil.disk_usage", lambda _, usage=usage: usage)
        assert ask(server, "jobs")["jobs"][0]["state"] == "waiting"
        assert bool(started) is bool(free)


def test_nonsense_is_answered(server):
    assert "reload" in ask(server, "fly")["error"]
    assert "reload" in ask(server, "caption")["error"]
    assert "no job" in ask(server, "watch", job="../x")["error"]


def test_to_try_a_lora_the_prompt_begins_as_all_captions_do(options, tmp_path):  # noqa: F811
    mine = shutil.copytree(options.train_data_dir, tmp_path / "mine")

    def subject(train_data_dir=mine, **changed):
        changed["train_data_dir"] = str(train_data_dir)
        return try_prompt(dataclasses.replace(options, **changed)).partition(", ")[0]

    assert subject() == "rimochan"
    assert subject(trigger_word="rimo") == "rimo"
    assert subject(tmp_path / "gone") == "small"
    for number, caption in enumerate(mine.rglob("*.txt")):
        caption.write_text(f"only {number}, full body")
    os.utime(mine, (1, 1))
    assert subject() == "small"


def test_a_base_model_says_what_it_was_made_for(server, narrow_sd1):  # noqa: F811
    reply = ask(server, "base", path=str(narrow_sd1))
    assert (reply["standing"], reply["recipe"]) == ("448,704", "few pictures")
    assert not reply["is_demonstration"]
    assert list(reply["for_any"]) == [BACKGROUNDS_KEPT]
    assert (
        "no base model" in ask(server, "base", path=str(narrow_sd1) + "gone.safetensors")["error"]
    )
    assert "not a .safetensors" in ask(server, "base", path="/etc/passwd")["error"]


def test_models_that_come_later_and_folders_that_are_named_are_listed(server, tmp_path, narrow_sd1):  # noqa: F811
    def listed():
        return [
            base["title"] for base in ask(server, "bases")["bases"] if not base["is_demonstration"]
        ]

    assert listed() == []  # nor is the missing folder of models one
    mine = tmp_path / "mine"
    assert "no folder" in ask(server, "add_base_folder", folder=str(mine))["error"]
    mine.mkdir()
    assert "no .safetensors" in ask(server, "add_base_folder", folder=str(mine))["error"]
    shutil.copy(narrow_sd1, mine / "later.safetensors")
    reply = ask(server, "add_base_folder", folder=str(mine))
    assert reply["added"] == str(mine / "later.safetensors")
    assert listed() == ["later"]
    server.host.models[0].mkdir(parents=True)
    shutil.copy(narrow_sd1, server.host.models[0] / "own.safetensors")
    assert listed() == ["own", "later"]
    again = TrainServer(Standalone(server.host.home))
    assert len(ask(again, "bases")["bases"]) == 2 + MODEL.exists()


def test_others_cannot_add_folders(shared_server, narrow_sd1):  # noqa: F811
    reply = ask(shared_server, "add_base_folder", folder=str(narrow_sd1.parent))
    assert "cannot be added while others" in reply["error"]


def test_stale_pictures_are_not_trained_on_unless_that_is_wanted(
    server,
    options,  # noqa: F811
    pictures,  # noqa: F811
    monkeypatch,
):
    monkeypatch.setattr(server.queue, "ensure_running", lambda: None)
    mine, _ = drop(server, pictures)
    base = options.pretrained_model_name_or_path
    for number in range(5):
        Image.effect_noise((70, 70), 80).convert("RGB").save(Path(mine) / f"{number}.png")
    made = ask(server, "augment", set=mine, count=5, seed=1, resolution="64", name="", base=base)
    wanted = {**dataclasses.asdict(options), "train_data_dir": made["set"]}
    assert ask(server, "estimate", options=wanted)["stale"] == []
    assert made["source"] == mine
    assert "error" not in ask(server, "train", options=wanted)

    ask(server, "caption", set=mine, name="0.png", caption="hat")
    assert "changed" in ask(server, "estimate", options=wanted)["stale"][0]["text"]
    refused = ask(server, "train", options=wanted)
    assert "(0.png): make them again" in refused["error"]
    assert refused["is_stale"]
    assert len(ask(server, "train", options=wanted, anyway=True)["jobs"]) == 2


def test_a_dropped_picture_is_cropped_with_its_mask(server, tmp_path):
    (tmp_path / "large").mkdir()
    name = "0.jpg"
    Image.effect_noise((100, 200), 80).save(tmp_path / "large" / name)
    mine, _ = drop(server, tmp_path / "large")
    folder = Path(mine)
    Image.new("L", (100, 200)).save(folder / "0-masklabel.png")
    shown = ask(server, "crop", set=mine, name=name, box=[0, 0.1, 1, 0.6])["pictures"]
    assert [(it["name"], it["width"], it["height"]) for it in shown] == [("0.png", 100, 100)]
    with Image.open(folder / "0-masklabel.png") as mask:
        assert mask.size == (100, 100)
    with Image.open(folder / f".original-{name}") as whole:
        assert whole.size == (100, 200)
    name = "0.png"
    assert "Too little" in ask(server, "crop", set=mine, name=name, box=[0, 0, 1, 0.1])["error"]
    assert ask(server, "picture", set=mine, name=name)["picture"].startswith("data:image/jpeg")


def test_settings_and_curve_of_a_job_can_be_taken(server, options, monkeypatch):  # noqa: F811
    monkeypatch.setattr(server.queue, "ensure_running", lambda: None)
    job = server.queue.add(options)
    taken = ask(server, "settings", job=job.id)["options"]
    assert taken["network_dim"] == options.network_dim
    more = ask(server, "settings", job=job.id, more=500)["options"]
    assert (more["output_name"], more["max_train_steps"]) == ("small-more", 500)
    assert more["network_weights"] == str(job.lora)
    progress = {"kind": "progress", "time": 1, "steps": 2, "seconds_left": 1, "loss": 0.5}
    job.training_folder.mkdir()
    with (job.training_folder / "events.jsonl").open("w") as events:
        for step in (1, 2):
            event = {**progress, "step": step, "smoothed_loss": 0.25, "learning_rates": [1e-4]}
            events.write(json.dumps(event) + "\n")
    file = ask(server, "curve", job=job.id, **{"as": "csv"})
    lines = base64.b64decode(file["content"]).decode().splitlines()
    assert file["name"] == "small-loss.csv"
    assert lines == [
        "step,loss,smoothed_loss,learning_rate",
        "1,0.5,0.25,0.0001",
        "2,0.5,0.25,0.0001",
    ]
    tried = ask(server, "try", job=job.id)
    assert tried["base"]["path"] == options.pretrained_model_name_or_path
    assert tried["base"]["listed"] == ""  # it lies outside of what the host lists


def test_the_compared_steps_are_spread_over_all():
    steps = [(step, Path(str(step))) for step in range(100, 1700, 100)]
    assert [step for step, _ in evenly(steps, 6)] == [100, 400, 700, 1000, 1300, 1600]
    assert evenly(steps[:3], 6) == steps[:3]


@pytest.mark.parametrize("fails", [False, True])
def test_a_comparison_runs_until_its_plot_is_there(server, options, fails, monkeypatch):  # noqa: F811
    monkeypatch.setattr(server.queue, "ensure_running", lambda: None)
    seen = []

    def draw_plot(plot, drawn):
        for _ in plot.prompts:
            drawn()
        seen.append(comparison.is_running)
        if fails:
            raise UserError("no")
        return Image.new("RGB", (8, 8))

    server.host.draw_plot = draw_plot
    comparison = Comparison(server.queue.add(options), server.host, total=1, is_running=True)
    comparison.job.folder.mkdir(exist_ok=True)
    comparison._draw(SimpleNamespace(prompts=["1girl"]))
    assert (seen, comparison.is_running) == ([True], False)
    assert comparison.path.exists() is not fails


def test_a_comparison_tells_of_another_model_than_the_loras_own(server, options, monkeypatch):  # noqa: F811
    monkeypatch.setattr(server.queue, "ensure_running", lambda: None)
    server.host.draws_with_any = False  # as a WebUI, where another one is loaded
    server.host.draw_plot = lambda plot, drawn: Image.new("RGB", (8, 8))
    comparison = Comparison(server.queue.add(options), server.host)
    comparison.job.folder.mkdir(exist_ok=True)
    comparison._draw(SimpleNamespace(prompts=["1girl"]))
    assert "which is loaded; the LoRA was trained on" in comparison.messages[0].text()
    assert comparison.path.exists()


def test_a_wrong_command_is_refused(server, options, monkeypatch):  # noqa: F811
    monkeypatch.setattr(server.queue, "ensure_running", lambda: None)
    job = server.queue.add(options)
    assert "use one of stop" in ask(server, "command", job=job.id, command="rm")["error"]
    reply = ask(server, "watch", job=job.id)
    assert (reply["state"], reply["prompt"]) == ("waiting", "rimochan, 1girl, red, <lora:small:1>")
    assert "no sample" in ask(server, "sample", job=job.id, name="../job.json")["error"]
    ask(server, "command", job=job.id, command="stop")
    assert ask(server, "jobs")["jobs"][0]["state"] == "stopped"
    assert ask(server, "forget", job=job.id)["jobs"] == []


def test_captions_are_written_to_folders_that_were_opened(server, tmp_path, pictures):  # noqa: F811
    asked = {"set": str(pictures), "name": "1.png", "caption": "changed"}
    names = sorted(path.name for path in pictures.iterdir())
    asked["name"] = next(name for name in names if name.endswith(".png"))
    before = {path: path.read_bytes() for path in pictures.iterdir()}
    for what in ("caption", "remove", "discard"):
        assert "error" in ask(server, what, **asked)
    assert "is not open" in ask(server, "caption", **asked)["error"]
    assert {path: path.read_bytes() for path in pictures.iterdir()} == before
    ask(server, "pictures", set=str(pictures))
    assert "error" not in ask(server, "caption", **asked)
    again = TrainServer(Standalone(tmp_path / "home"))  # while the page stays open
    assert "error" not in ask(again, "caption", **asked)


@pytest.mark.parametrize("kind", ["server", "shared_server"])
def test_a_picture_that_is_a_link_to_elsewhere_is_named_and_not_shown(
    request,
    kind,
    tmp_path,
    pictures,  # noqa: F811
):
    server = request.getfixturevalue(kind)
    new, shown = drop(server, pictures)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(pictures, elsewhere)
    first = shown[0]["name"]
    (Path(new) / first).unlink()
    (Path(new) / first).symlink_to(elsewhere / first)
    told = ask(server, "pictures", set=new)["pictures"][0]
    assert told["name"] == first
    assert told["thumbnail"] == ""
    assert "leads out of the folders" in told["left_out"]["text"]
    if kind == "server":  # whoever opens that folder too, sees the picture
        ask(server, "pictures", set=str(elsewhere))
        assert ask(server, "pictures", set=new)["pictures"][0]["thumbnail"]
    else:
        assert "error" in ask(server, "pictures", set=str(elsewhere))


def test_nobody_leaves_a_set_by_swapping_its_folder_for_a_link(shared_server, tmp_path):
    root = tmp_path / "home" / "pictures"
    inside, outside, aside = root / "set", tmp_path / "outside", root / "aside"
    for folder, colour in ((inside, 0), (outside, 255)):
        folder.mkdir(parents=True)
        picture = Image.new("RGB", (64, 64), (colour, 128, 0))
        picture.putpixel((0, 0), (1, 2, 3))
        picture.save(folder / "1.png")
        (folder / "1.txt").write_text(folder.name)
    done = threading.Event()

    def swap():
        while not done.is_set():
            inside.rename(aside)
            inside.symlink_to(outside)
            time.sleep(0.0002)
            inside.unlink()
            aside.rename(inside)
            time.sleep(0.0002)

    thread = threading.Thread(target=swap)
    thread.start()
    answers = []
    try:
        until = time.monotonic() + 1
        while time.monotonic() < until:
            answers.append(ask(shared_server, "pictures", set=str(inside)))
            written = {"set": str(inside), "name": "1.png", "caption": "changed"}
            answers.append(ask(shared_server, "caption", **written))
    finally:
        done.set()
        thread.join()
    captions = {known["caption"] for reply in answers for known in reply.get("pictures", ())}
    assert captions
    assert captions <= {"set", "changed", ""}
    assert (outside / "1.txt").read_text() == "outside"
    assert sorted(path.name for path in outside.iterdir()) == ["1.png", "1.txt"]


def test_loras_are_made_of_those_in_the_folder(server):
    folder = server.host.lora_folder
    folder.mkdir(parents=True)
    shutil.copy(LORA, folder)
    assert ask(server, "loras")["loras"] == ["rimochan"]
    done = ask(server, "tool", tool="resize", lora="rimochan", name="small", dim="2")
    assert done["name"] == "small"
    assert ask(server, "loras")["loras"] == ["rimochan", "small"]
    before = (folder / "small.safetensors").read_bytes()
    for request, sentence in [
        ({"tool": "resize", "lora": "rimochan", "name": "small", "dim": "2"}, "already"),
        ({"tool": "resize", "lora": "rimochan", "name": "../small", "dim": "2"}, "../small"),
        ({"tool": "resize", "lora": "../models/x", "name": "other", "dim": "2"}, "no LoRA"),
        ({"tool": "resize", "lora": "rimochan", "name": "other", "dim": ""}, "how many ranks"),
        ({"tool": "merge", "tags": "rimochan", "name": "other"}, "Write the tags"),
        ({"tool": "edit", "lora": "rimochan"}, "Write a title"),
        ({"tool": "edit", "lora": "rimochan", "cover": "bm8="}, "cannot be read"),
        ({"tool": "extract", "original": "", "tuned": "", "dim": "4", "name": "o"}, "Choose the"),
        ({"tool": "extract", "original": "", "tuned": "", "name": "other"}, "Give a rank"),
        ({"tool": "train", "lora": "rimochan"}, "no tool train"),
    ]:
        assert sentence in ask(server, "tool", **request)["error"], request
    assert (folder / "small.safetensors").read_bytes() == before
    assert not (folder / "other.safetensors").exists()


@pytest.mark.parametrize("name", ["\ud800", "\0", "x" * 5000])
def test_a_name_that_no_file_can_have_costs_the_prompts_words_only(name):
    told = TrainingOptions(train_data_dir=name, output_name="small", trigger_word="her")
    assert try_prompt(told) == "her, <lora:small:1>"


def test_an_answer_is_kept_for_who_asked_for_that(server, monkeypatch):
    """A proxy gives up after a minute or two, and what was asked for is done all the same."""
    is_done, counted = threading.Event(), []

    def slowly(asked):
        assert is_done.wait(60)
        counted.append(asked["ticket"])
        return {"n": len(counted)}

    monkeypatch.setattr(server.jobs, "do_slowly", slowly, raising=False)
    asking = threading.Thread(target=ask, args=(server, "slowly"), kwargs={"ticket": "x"})
    keeping = threading.Thread(
        target=ask, args=(server, "slowly"), kwargs={"ticket": "y", "keep": True}
    )
    for thread in (asking, keeping):
        thread.start()
    deadline = time.monotonic() + 60
    while not ask(server, "outcome", ticket="y")["is_pending"]:
        assert time.monotonic() < deadline
    nothing = {"is_pending": False, "reply": None}
    assert ask(server, "outcome", ticket="x") == nothing
    is_done.set()
    for thread in (asking, keeping):
        thread.join(60)
    outcome = {"is_pending": False, "reply": {"n": counted.index("y") + 1}}
    assert ask(server, "outcome", ticket="y") == outcome
    assert ask(server, "outcome", ticket="x") == nothing
    refused = ask(server, "discard", set="nowhere", ticket="z", keep=True)
    assert ask(server, "outcome", ticket="z") == {"is_pending": False, "reply": refused}
    assert "error" in refused
    for number in range(MOST):
        ask(server, "slowly", ticket=str(number), keep=True)
    assert ask(server, "outcome", ticket="y") == nothing
