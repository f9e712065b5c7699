import errno
import gzip
import importlib.util
import inspect
import os
import tarfile
import zipfile
from types import SimpleNamespace

import pytest

from pleura import config
from pleura.data.sources import find_sources
from pleura.errors import DataError, OutputError, UsageError
from pleura.fetch import downloads
from pleura.fetch import kaggle as fetch
from pleura.fetch.kaggle import (
    COMPETITION,
    DATASET,
    LAYOUTS,
    FetchedCounts,
    check,
    fetch_siim,
    needs,
)
from tests import kagglehub_stand_in as stand_in
from tests.kagglehub_stand_in import STAGE_1, STAGE_2, read_files, refused, write_files


@pytest.fixture
def kaggle(monkeypatch, tmp_path):
    """The stand-in with a small set: a copy of stage 1 as a data set, stage 2 as the challenge."""
    monkeypatch.setattr(fetch, "LAYOUTS", stand_in.small_layouts(fetch))
    kaggle = stand_in.install(monkeypatch, tmp_path / "cache")
    kaggle.things[DATASET] = write_files(tmp_path / "published", STAGE_1)
    kaggle.things[COMPETITION] = write_files(tmp_path / "challenge", STAGE_2)
    return kaggle


@pytest.fixture
def out(tmp_path):
    return tmp_path / "siim"


def pack(path, files):
    """Write a ZIP archive of names (or ZipInfo) and texts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files:
            archive.writestr(name, text)


class TestLayouts:
    def test_what_was_published(self):
        assert LAYOUTS[1].published == FetchedCounts(
            train=10_712, test=1_377, rows=11_582, images=10_675
        )
        assert LAYOUTS[2].published == FetchedCounts(
            train=12_089, test=3_205, rows=12_954, images=12_047
        )

    def test_stage_1(self, kaggle, out):
        seen = []
        fetched = fetch_siim(out, on_progress=lambda *told: seen.append(told))
        assert read_files(out) == STAGE_1
        assert fetched.warnings == ()
        assert (fetched.placed, fetched.kept, fetched.sources) == (6, 0, (DATASET,))
        assert fetched.counts == FetchedCounts(3, 2, 4, 3)
        assert seen == [(done, 6) for done in range(1, 7)]
        sources = find_sources(config.Data(path=str(out)))
        assert (len(sources.train), len(sources.test)) == (3, 2)
        assert sources.annotations == out / "train-rle.csv"

    def test_stage_2_is_both_folders_and_the_challenges_files(self, kaggle, out):
        fetched = fetch_siim(out, stage=2)
        files = {name: text for name, text in STAGE_1.items() if name.endswith(".dcm")}
        assert read_files(out) == files | STAGE_2
        assert fetched.warnings == ()
        assert kaggle.asked == [COMPETITION, DATASET], "what may be refused is asked for first"
        sources = find_sources(config.Data(path=str(out)))
        assert (len(sources.train), len(sources.test)) == (5, 2)
        assert sources.annotations == out / "stage_2_train.csv"
        assert [path.name for path in sources.submissions] == ["stage_2_sample_submission.csv"]

    def test_stage_2_over_stage_1(self, kaggle, out):
        fetch_siim(out)
        fetched = fetch_siim(out, stage=2)
        assert (fetched.placed, fetched.kept) == (4, 5)
        assert fetched.warnings == ()
        assert kaggle.brought == [DATASET, COMPETITION]
        assert fetch_siim(out).sources == (), "stage 1 is still whole"

    @pytest.mark.parametrize("above", ["siim", "pneumothorax", "a/b/c", "Dicom-Images-Train"])
    def test_folders_are_found_wherever_they_lie(self, kaggle, out, tmp_path, above):
        files = {f"{above}/{name}": text for name, text in STAGE_1.items()}
        kaggle.things[DATASET] = write_files(tmp_path / "nested", files)
        fetch_siim(out)
        assert read_files(out) == STAGE_1

    def test_a_second_copy_in_the_download_is_passed_over(self, kaggle, out):
        again = {f"pneumothorax/{name}": text for name, text in STAGE_1.items()}
        write_files(kaggle.things[DATASET], again)
        fetched = fetch_siim(out)
        assert read_files(out) == STAGE_1
        assert fetched.warnings == ()

    def test_two_files_of_one_name_that_differ(self, kaggle, out):
        odd = "dicom-images-train/1.1/1.1.1/1.dcm"
        write_files(kaggle.things[DATASET], {f"a/{odd}": "another"})
        (warning,) = fetch_siim(out).warnings
        assert warning == (
            f"{odd}: the download holds different files of this name, and the one in the fewest "
            "folders was taken (such names in all: 1)"
        )
        assert read_files(out) == STAGE_1

    def test_what_does_not_belong_to_it_stays_in_the_cache(self, kaggle, out):
        others = {
            "readme.html": "",
            "dicom-images-train/run.sh": "",
            "dicom-images-train/1.1/.hidden.dcm": "",
            "png/1.dcm": "",
            "stage_2_train.csv": "",
        }
        write_files(kaggle.things[DATASET], others)
        fetch_siim(out)
        assert read_files(out) == STAGE_1

    @pytest.mark.parametrize("inside", ["", "stage_2_images/", "x/stage_2_images/"])
    def test_zip_archives_in_the_download(self, kaggle, out, tmp_path, inside):
        packed = tmp_path / "packed"
        images = [(n, t) for n, t in STAGE_2.items() if n.endswith(".dcm")]
        members = [(inside + name.partition("/")[2], text) for name, text in images]
        pack(packed / "stage_2_images.zip", [*members, ("__MACOSX/._ID_a.dcm", "x")])
        for name in ("stage_2_train.csv", "stage_2_sample_submission.csv"):
            pack(packed / f"{name}.zip", [(name, STAGE_2[name])])
        kaggle.things[COMPETITION] = packed
        fetched = fetch_siim(out, stage=2)
        assert fetched.warnings == ()
        files = {name: text for name, text in STAGE_1.items() if name.endswith(".dcm")}
        assert read_files(out) == files | STAGE_2
        (out / "stage_2_images" / "ID_b.dcm").unlink()
        assert fetch_siim(out, stage=2).placed == 1


class TestResuming:
    def test_a_whole_folder_is_left_alone_and_kaggle_is_not_asked(self, kaggle, out, monkeypatch):
        fetch_siim(out)
        monkeypatch.setattr(fetch, "_kagglehub", lambda: pytest.fail("was asked"))
        fetched = fetch_siim(out)
        assert (fetched.placed, fetched.sources, fetched.warnings) == (0, (), ())

    @pytest.mark.parametrize("after", [1, 3, 5])
    def test_an_interruption_between_two_files(self, kaggle, out, after):
        def stop(done, total):
            if done == after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fetch_siim(out, on_progress=stop)
        begun = read_files(out)
        assert len(begun) == after
        assert begun.items() <= STAGE_1.items()
        fetched = fetch_siim(out)
        assert (fetched.placed, fetched.kept) == (6 - after, after)
        assert read_files(out) == STAGE_1
        assert kaggle.brought == [DATASET], "the cache has it already"

    def test_an_interruption_while_a_file_is_copied(self, kaggle, out, monkeypatch):
        def half(source, target):
            target.write_text("half")
            raise KeyboardInterrupt

        monkeypatch.setattr(downloads, "_link", lambda source, target: False)
        monkeypatch.setattr(downloads, "shutil", SimpleNamespace(copyfile=half))
        with pytest.raises(KeyboardInterrupt):
            fetch_siim(out)
        assert read_files(out) == {}

    def test_a_file_of_another_size_is_replaced(self, kaggle, out):
        write_files(out, {"train-rle.csv": "ImageId,EncodedPixels\n"})
        assert fetch_siim(out).placed == 6
        assert read_files(out) == STAGE_1

    def test_hard_links_where_that_goes_else_copies(self, kaggle, out, tmp_path, monkeypatch):
        fetch_siim(out)
        name = next(iter(STAGE_1))
        cached = next(kaggle.cache.rglob("1.dcm"))
        assert (out / name).samefile(cached)

        def no_link(source, target):
            raise OSError(errno.EXDEV, "Invalid cross-device link")

        monkeypatch.setattr(os, "link", no_link)
        fetch_siim(tmp_path / "elsewhere")
        assert read_files(tmp_path / "elsewhere") == STAGE_1
        assert not (tmp_path / "elsewhere" / name).samefile(cached)

    def test_a_full_disk_while_copying(self, kaggle, out, monkeypatch):
        def full(source, target):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(downloads, "_link", lambda source, target: False)
        monkeypatch.setattr(downloads, "shutil", SimpleNamespace(copyfile=full))
        with pytest.raises(OutputError, match=r"could not be written \(No space left on device\)"):
            fetch_siim(out)
        assert read_files(out) == {}


class TestHostileDownloads:
    @pytest.mark.parametrize(
        "name",
        [
            "../dicom-images-train/x.dcm",
            "dicom-images-train/../../x.dcm",
            "/dicom-images-train/x.dcm",
            "dicom-images-train//x.dcm",
            "dicom-images-train/./x.dcm",
            "dicom-images-train\\..\\..\\x.dcm",
            "dicom-images-train/C:x.dcm",
            "dicom-images-train/x\n.dcm",
            "../train-rle.csv",
        ],
    )
    def test_names_that_lead_elsewhere(self, kaggle, out, name):
        pack(kaggle.things[DATASET] / "more.zip", [(name, "evil")])
        (warning,) = fetch_siim(out).warnings
        assert "passed over, with 1 such in all: a link, a name that leads elsewhere" in warning
        assert read_files(out) == STAGE_1
        assert "\n" not in warning

    def test_links_in_an_archive(self, kaggle, out):
        link = zipfile.ZipInfo("dicom-images-train/x.dcm")
        link.external_attr = 0o120777 << 16
        pack(kaggle.things[DATASET] / "more.zip", [(link, "/etc/passwd")])
        (warning,) = fetch_siim(out).warnings
        assert warning.startswith("more.zip: dicom-images-train/x.dcm: passed over")
        assert read_files(out) == STAGE_1

    def test_links_among_the_files(self, kaggle, out, tmp_path):
        secret = write_files(tmp_path / "secret", {"s.dcm": "secret"})
        folder = kaggle.things[DATASET] / "dicom-images-train"
        (folder / "x.dcm").symlink_to(secret / "s.dcm")
        (folder / "y").symlink_to(secret, target_is_directory=True)
        (warning,) = fetch_siim(out).warnings
        assert warning.startswith("dicom-images-train/x.dcm: passed over, with 1 such in all")
        assert read_files(out) == STAGE_1

    def test_files_that_are_too_large(self, kaggle, out, monkeypatch):
        pack(kaggle.things[DATASET] / "more.zip", [("dicom-images-train/x.dcm", "0" * 200)])
        write_files(kaggle.things[DATASET], {"dicom-images-train/y.dcm": "0" * 200})
        monkeypatch.setattr(downloads, "MAX_FILE_BYTES", 100)
        (warning,) = fetch_siim(out).warnings
        assert "passed over, with 2 such in all" in warning
        assert "or more than 100 bytes" in warning
        assert read_files(out) == STAGE_1

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_a_small_and_a_large_member_of_one_name(self, kaggle, out, monkeypatch):
        name = "dicom-images-train/x.dcm"
        pack(kaggle.things[DATASET] / "more.zip", [(name, "small"), (name, "0" * 200)])
        monkeypatch.setattr(downloads, "MAX_FILE_BYTES", 100)
        fetch_siim(out)
        assert (out / name).read_text() == "small"

    def test_a_folder_of_the_target_that_leads_away(self, kaggle, out, tmp_path):
        out.mkdir()
        (tmp_path / "away").mkdir()
        (out / "dicom-images-test").symlink_to(tmp_path / "away")
        with pytest.raises(DataError, match=r"its folder is a link that leads out of .*siim; remo"):
            fetch_siim(out)
        assert not any((tmp_path / "away").iterdir())

    def test_a_file_of_the_target_that_is_a_link_is_replaced_not_followed(
        self, kaggle, out, tmp_path
    ):
        mine = write_files(tmp_path / "mine", {"t.csv": STAGE_1["train-rle.csv"][:-2]})
        out.mkdir()
        (out / "train-rle.csv").symlink_to(mine / "t.csv")
        fetch_siim(out)
        assert not (out / "train-rle.csv").is_symlink()
        assert read_files(mine) == {"t.csv": STAGE_1["train-rle.csv"][:-2]}

    def test_an_archive_that_is_none(self, kaggle, out):
        write_files(kaggle.things[DATASET], {"more.zip": "no"})
        with pytest.raises(DataError, match=r"more\.zip: cannot be unpacked \(File is not a zip"):
            fetch_siim(out)

    def test_an_archive_with_a_damaged_member(self, kaggle, out):
        path = kaggle.things[DATASET] / "more.zip"
        pack(path, [("dicom-images-train/x.dcm", "content that is packed " * 9)])
        damaged = bytearray(path.read_bytes())
        damaged[60:70] = bytes(10)
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"more\.zip: cannot be unpacked \(.*kagglehub made"):
            fetch_siim(out)
        assert not (out / "dicom-images-train" / "x.dcm").exists()


class TestCounts:
    def test_each_deviation_is_said(self, kaggle, out):
        folder = kaggle.things[DATASET]
        (folder / "dicom-images-train/1.1/1.1.1/1.dcm").unlink()
        write_files(folder, {"dicom-images-test/9.dcm": "", "train-rle.csv": "ImageId, Enc\n"})
        write_files(folder, {"train-rle.csv": "ImageId, EncodedPixels\n1, -1\n2,\n"})
        fetched = fetch_siim(out)
        assert fetched.warnings == (
            "dicom-images-train: 2 files; 3 were published",
            "dicom-images-test: 3 files; 2 were published",
            "train-rle.csv: 2 rows for 2 images; 4 for 3 were published",
        )
        assert fetched.counts == FetchedCounts(2, 3, 2, 2)

    def test_a_missing_table(self, kaggle, out):
        (kaggle.things[DATASET] / "train-rle.csv").unlink()
        (warning,) = fetch_siim(out).warnings
        assert "train-rle.csv" in warning

    def test_stage_2_without_a_sample_submission(self, kaggle, out):
        (kaggle.things[COMPETITION] / "stage_2_sample_submission.csv").unlink()
        assert fetch_siim(out, stage=2).warnings == ("stage_2_sample_submission.csv: is not there",)

    def test_an_empty_folder(self, tmp_path):
        counts, warnings = check(tmp_path, 1)
        assert counts == FetchedCounts(0, 0, 0, 0)
        assert "dicom-images-train: 0 files; 10,712 were published" in warnings
        assert "dicom-images-test: 0 files; 1,377 were published" in warnings
        assert len(warnings) == 3

    @pytest.mark.parametrize(("stage", "name"), [(1, "train-rle.csv"), (2, "stage_2_train.csv")])
    def test_the_real_tables(self, real_data, tmp_path, stage, name):
        packed = real_data / "annotations" / f"train-rle-stage{stage}.csv.gz"
        (tmp_path / name).write_bytes(gzip.decompress(packed.read_bytes()))
        counts, warnings = check(tmp_path, stage)
        published = LAYOUTS[stage].published
        assert (counts.rows, counts.images) == (published.rows, published.images)
        assert not [warning for warning in warnings if name in warning]


def full_disk():
    return OSError(errno.ENOSPC, "No space left on device")


class TestRefusals:
    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (stand_in.UnauthenticatedError(), "Kaggle needs an account; make a token at"),
            (refused(401), r"does not accept the token \(401\); make a token at https"),
            (refused(403), r"\(403\): it is private, was taken down, or wants consent on its page"),
            (refused(404), r"Kaggle has no such data set \(404\); name another copy with `from`"),
            (refused(429), r"asks for a pause \(429\); try again later, what has arrived is kept"),
            (refused(503), r"answered with status 503; try again later, what has arrived is kept"),
            (stand_in.KaggleApiHTTPError("no answer"), "answered with status 0; try again later"),
            (stand_in.ConnectionError_("x"), r"cannot be reached \(ConnectionError\); check the"),
            (stand_in.ReadTimeout("x"), r"cannot be reached \(ReadTimeout\); check the connection"),
            (TimeoutError("x"), r"cannot be reached \(TimeoutError\); check the connection"),
            (stand_in.DataCorruptionError("x"), "arrived damaged and was removed; try again"),
            (zipfile.BadZipFile("x"), r"cannot be unpacked \(x\); remove the file that ends"),
            (tarfile.ReadError("x"), r"cannot be unpacked \(x\); remove the file that ends"),
            (ValueError("Unsupported archive type."), r"unpacked \(Unsupported archive type\)"),
            (
                ValueError("Invalid Kaggle credentials file at k.json"),
                r"kagglehub gave up \(Invalid Kaggle credentials file at k.json\)",
            ),
            (stand_in.BackendError("a\nb"), r"kagglehub gave up \(a\)"),
            (stand_in.CredentialError(), r"kagglehub gave up \(CredentialError\)"),
            (stand_in.KaggleEnvironmentError("e"), r"kagglehub gave up \(e\)"),
            (stand_in.NotFoundError("n"), r"kagglehub gave up \(n\)"),
        ],
    )
    def test_every_error_of_a_data_set_is_one_sentence(self, kaggle, out, error, message):
        kaggle.things[DATASET] = error
        with pytest.raises(DataError, match=message) as caught:
            fetch_siim(out)
        assert str(caught.value).startswith(f"https://www.kaggle.com/datasets/{DATASET}: ")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (stand_in.UnauthenticatedError(), "Kaggle needs an account; make a token at"),
            (refused(403), rf"\(403\); accept the rules at .*/{COMPETITION}/rules with the"),
            (refused(404), r"Kaggle has no such data set \(404\)"),
        ],
    )
    def test_the_challenge_refuses_before_gigabytes_are_brought(self, kaggle, out, error, message):
        kaggle.things[COMPETITION] = error
        with pytest.raises(DataError, match=message) as caught:
            fetch_siim(out, stage=2)
        assert str(caught.value).startswith(f"https://www.kaggle.com/competitions/{COMPETITION}: ")
        assert kaggle.asked == [COMPETITION]

    def test_a_full_disk_while_downloading(self, kaggle, out):
        kaggle.things[DATASET] = full_disk()
        message = r"cache: No space left on device; free some space, or name another place for the"
        with pytest.raises(OutputError, match=message):
            fetch_siim(out)

    def test_what_is_not_known_is_not_explained_away(self, kaggle, out):
        kaggle.things[DATASET] = ZeroDivisionError("a fault of kagglehub")
        with pytest.raises(ZeroDivisionError, match="a fault of kagglehub"):
            fetch_siim(out)

    def test_without_kagglehub(self, monkeypatch, out):
        monkeypatch.setitem(__import__("sys").modules, "kagglehub.exceptions", None)
        message = r"needs the package kagglehub \(.*\); install it with pip install 'pleura\[kagg"
        with pytest.raises(DataError, match=message):
            fetch_siim(out)

    @pytest.mark.parametrize(
        "name", ["siim", "a/b/c", "https://www.kaggle.com/datasets/a/b", "a/..", "a/b/versions/0"]
    )
    def test_names_that_are_none(self, kaggle, out, name):
        for call in (lambda: fetch_siim(out, dataset=name), lambda: needs(1, name)):
            with pytest.raises(UsageError, match=r"a data set is named OWNER/SLUG, as its page's"):
                call()
        assert kaggle.asked == []
        assert not out.exists()

    def test_a_data_set_without_the_files(self, kaggle, out, tmp_path):
        kaggle.things["some/body"] = write_files(
            tmp_path / "x", {f"png/{n}.png": "" for n in "ab"} | {"train-rle.csv": "", "t.txt": ""}
        )
        message = (
            "https://www.kaggle.com/datasets/some/body: holds no DICOM files below "
            "dicom-images-train or dicom-images-test; what it holds is png, t.txt, train-rle.csv; "
            "name another copy with `from` OWNER/SLUG"
        )
        with pytest.raises(DataError) as caught:
            fetch_siim(out, dataset="some/body")
        assert str(caught.value) == message
        assert read_files(out) == {}

    def test_a_data_folder_that_cannot_be(self, kaggle, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError, match=r"file/siim: could not be written \(Not a dir"):
            fetch_siim(tmp_path / "file" / "siim")
        assert kaggle.asked == []


class TestNeeds:
    def test_stage_1_names_the_copy_and_the_token(self):
        said = " ".join(needs(1, "some/body"))
        assert "https://www.kaggle.com/datasets/some/body" in said
        assert "needs no account as a rule" in said
        assert "KAGGLE_API_TOKEN" in said
        assert "rules" not in said

    def test_stage_2_names_account_rules_and_token(self):
        said = " ".join(needs(2))
        assert f"rules accepted at https://www.kaggle.com/competitions/{COMPETITION}/rules," in said
        assert "an account" in said
        assert "https://www.kaggle.com/settings/api" in said


class TestStandIn:
    """The stand-in is only worth something as long as it is like kagglehub."""

    @pytest.fixture
    def real(self):
        if importlib.util.find_spec("kagglehub") is None:
            pytest.skip("kagglehub is not installed; pip install 'pleura[kaggle]' to compare")
        return importlib.import_module("kagglehub")

    @pytest.mark.filterwarnings("ignore")
    def test_the_functions_take_the_same(self, real, tmp_path):
        kaggle = stand_in.Kaggle(tmp_path)
        for name in ("dataset_download", "competition_download"):
            theirs = inspect.signature(getattr(real, name)).parameters
            ours = inspect.signature(getattr(kaggle, name)).parameters
            assert [(p.name, p.kind, p.default) for p in theirs.values()] == [
                (p.name, p.kind, p.default) for p in ours.values()
            ]

    @pytest.mark.filterwarnings("ignore")
    def test_the_exceptions_are_of_the_same_kinds(self, real):
        exceptions = importlib.import_module("kagglehub.exceptions")
        for ours in stand_in.EXCEPTIONS:
            theirs = getattr(exceptions, ours.__name__)
            assert issubclass(theirs, OSError) == issubclass(ours, OSError)
            assert ("__init__" in vars(theirs)) == ("__init__" in vars(ours))
            if "__init__" in vars(ours):
                words = [list(inspect.signature(kind).parameters) for kind in (theirs, ours)]
                assert words[0] == words[1]
        requests = importlib.import_module("requests.exceptions")
        for ours in (stand_in.ConnectionError_, stand_in.ReadTimeout):
            theirs = getattr(requests, ours.__name__)
            assert issubclass(theirs, OSError)
            assert theirs.__module__ == ours.__module__
            assert fetch._is_network(theirs("x"))
        error = exceptions.KaggleApiHTTPError("x", response=None)
        assert error.errno is None
