from pathlib import Path

import pytest

from pleura import config
from pleura.config import as_toml, load_run, make_run
from pleura.errors import ConfigError
from tests.damage import refusals

RUNS = sorted(Path(__file__).parents[1].glob("runs/*.toml"))


def test_an_empty_file_is_a_run(tmp_path):
    (tmp_path / "empty.toml").write_text("")
    assert load_run(tmp_path / "empty.toml") == config.Run()


def test_a_run_comes_back_from_its_own_toml(tmp_path):
    run = make_run(["network.name=cnn", "train.learning_rate=0.01", "phantom.train=7"])
    (tmp_path / "run.toml").write_text(as_toml(run))
    assert load_run(tmp_path / "run.toml") == run


def test_settings_lie_over_the_file(tmp_path):
    (tmp_path / "run.toml").write_text("[train]\nepochs = 3\nbatch = 2\n")
    run = load_run(tmp_path / "run.toml", ["train.epochs=5", "out=elsewhere"])
    assert (run.train.epochs, run.train.batch, run.out) == (5, 2, "elsewhere")


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_every_run_file_loads(path):
    assert isinstance(load_run(path), config.Run)


def test_there_are_run_files():
    assert RUNS


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "train.lerning_rate=1",
            "unknown key train.lerning_rate; did you mean train.learning_rate",
        ),
        ("trian.epochs=1", "unknown key trian; did you mean train?"),
        ("train.zzz=1", "unknown key train.zzz; the keys here are epochs, batch"),
        ("train.epochs=0", "train.epochs is 0: input should be greater than or equal to 1"),
        ("train.epochs='3'", "train.epochs is '3': input should be a valid integer"),
        ("train.epochs=2.5", "train.epochs is 2.5: input should be a valid integer"),
        ("train.learning_rate=nan", "train.learning_rate is nan"),
        ("train.fold=5", "fold is 5 but folds are numbered 0 to 4"),
        ("network.name=resnet", "network.name is 'resnet': input should be 'cnn', 'unet_small', "),
        ("network.pretrained=1", "network.pretrained is 1: input should be a valid boolean"),
        ("network.backbon=x", "unknown key network.backbon; did you mean network.backbone?"),
        (
            "train.loss=dice",
            "train.loss is 'dice': input should be 'bce', 'bce_dice', 'winner', 'lovasz' or",
        ),
        ("prepare.size=100", "prepare.size is 100: input should be a multiple of 32"),
        ("predict.deidentify=true", "deidentify is for DICOM results; name them in dicom"),
        ("predict.dicom=['pdf']", "predict.dicom.0 is 'pdf': input should be 'seg', 'map', 'sr', "),
        ("predict.engine=tf", "predict.engine is 'tf': input should be 'auto', 'torch', 'openv"),
        ("network=3", "network is 3: input should be an object"),
        ("train", "`set` train: write it as section.key=value"),
        ("out.x=1", "`set`: out: input should be a valid string"),
        ("train.epochs=]", "train.epochs is ']': input should be a valid integer"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_name(setting, message):
    with pytest.raises(ConfigError) as caught:
        make_run([setting])
    assert message in str(caught.value)


def test_a_section_that_is_a_value_cannot_be_set_into(tmp_path):
    with pytest.raises(ConfigError, match="out is a value, not a section"):
        make_run(["out=x", "out.y=1"])


def test_a_wrong_file_is_named(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("[train]\nepochs = 'three'\n")
    with pytest.raises(ConfigError, match=r"run.toml: train.epochs is 'three'"):
        load_run(path)


def test_no_toml_is_said_so(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("[train\n")
    with pytest.raises(ConfigError, match=r"run.toml: is not TOML: "):
        load_run(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"run.toml: is not TOML: "):
        load_run(path)


def test_a_missing_file_is_said_so(tmp_path):
    with pytest.raises(ConfigError, match=r"none.toml: cannot be read \(No such file"):
        load_run(tmp_path / "none.toml")


def test_only_dataclasses_become_tables():
    with pytest.raises(TypeError, match="not a dataclass instance"):
        config.as_table({"a": 1})


def test_a_file_that_never_ends_or_holds_a_number_without_end(tmp_path):
    with pytest.raises(ConfigError, match="/dev/zero: is not a regular file; name a TOML file"):
        config.load_run("/dev/zero")
    path = tmp_path / "run.toml"
    path.write_text("[train]\nepochs = " + "9" * 5000 + "\n")
    with pytest.raises(ConfigError, match=r"run.toml: is not TOML: Exceeds the limit"):
        config.load_run(path)
    path.write_bytes(b"#" * (1 << 20) + b"#")
    with pytest.raises(ConfigError, match="has more than 1,048,576 bytes; is it a TOML file"):
        config.load_run(path)


def test_a_message_is_bounded_whatever_the_file_holds(tmp_path):
    file = tmp_path / "run.toml"
    for text in (
        f"[train]\n{'a' * 10**5} = 1\n",
        f"out = ['{'b' * 10**5}']\n",
        "[train]\n" + "".join(f"z{number}z = 1\n" for number in range(500)),
        f"[train]\nepochs = 0x{'f' * 9000}\n",
        f"[{'c' * 10**5}]\n[{'c' * 10**5}]\n",
        '[train]\n"a\\nb" = 1\n',
    ):
        file.write_text(text)
        with refusals(4000) as told:
            load_run(file)
        assert told
    file.write_text("[train]\n" + "".join(f"z{number}z = 1\n" for number in range(500)))
    with pytest.raises(ConfigError, match=r"and 495 more$"):
        load_run(file)


def test_a_key_of_thousands_of_parts_is_refused_before_it_is_parsed(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("a" + ".a" * 5000 + " = 1")
    with pytest.raises(ConfigError, match=r"is not TOML: a line has more than 1,000 dots"):
        load_run(path)


def test_a_byte_order_mark_is_passed_over(tmp_path):
    (tmp_path / "run.toml").write_bytes(b"\xef\xbb\xbf[train]\r\nepochs = 3\r\n")
    assert load_run(tmp_path / "run.toml").train.epochs == 3


def test_a_value_of_several_types_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("[train]\nbatch = 1e3\n")
    with pytest.raises(ConfigError) as caught:
        load_run(path)
    assert str(caught.value) == (
        f"{path}: train.batch is 1000.0: input should be a valid integer, or input should be 'auto'"
    )
