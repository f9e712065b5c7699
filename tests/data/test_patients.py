import gzip
import time

import numpy as np
import pytest
from recipes.siim_patients import main, siim_columns, write_table

from pleura.data import patients
from pleura.data.patients import SIIM_TABLE, read_patients, siim_patient
from pleura.errors import DataError

EXAMPLE = "1.2.276.0.7230010.3.1.4.8323329.1000.1517875165.878027"


class TestReadPatients:
    @pytest.mark.parametrize("name", ["patients.csv", "patients.csv.gz"])
    def test_columns_are_found_by_name(self, tmp_path, name):
        raw = "\ufeffother, patient, ImageId\nx, 7 , 1.2.1\ny,,1.2.2\nz,8,1.2.3\n\n".encode()
        path = tmp_path / name
        path.write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
        assert read_patients(path) == {"1.2.1": "7", "1.2.3": "8"}

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("p.csv", b"image,who\n1,2\n", r"needs the columns ImageId and patient; found image, "),
            ("p.csv", b"", r"needs the columns ImageId and patient; found none"),
            ("p.csv", b"\xff\xff\x00", r"p\.csv: line 1 holds byte 0xff"),
            ("p.csv.gz", b"\x1f\x8bnothing", r"p\.csv\.gz: could not be read \(Compressed"),
            (
                "p.csv.gz",
                gzip.compress(b"ImageId,patient\n", mtime=0)[:-9],
                r"p\.csv\.gz: could not be read \(Compressed file ended",
            ),
            ("p.csv", b"ImageId,patient\na,1\nb\n", r"p\.csv: line 3: the row has 1 values, but"),
            ("p.csv", b'ImageId,patient\na,"1\nb,2\n', r"p\.csv: line 2: the quotes of the row do"),
        ],
    )
    def test_what_is_no_map_is_refused(self, tmp_path, name, content, message):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_patients(path)

    def test_an_image_of_two_patients_is_refused(self, tmp_path):
        path = tmp_path / "p.csv"
        path.write_text("ImageId,patient\na,1\na,1\na,2\n")
        with pytest.raises(DataError, match=r"p.csv: line 4 gives image a another patient than"):
            read_patients(path)

    def test_no_file(self, tmp_path):
        with pytest.raises(DataError, match=r"no\.csv: could not be read \(No such file"):
            read_patients(tmp_path / "no.csv")


class TestShippedTable:
    def test_it_knows_as_many_as_were_published(self):
        with np.load(SIIM_TABLE, allow_pickle=False) as columns:
            assert columns["gaps"].shape == (4, 12_047)
            assert columns["patients"].shape == (2, 12_047)
        table = patients._siim_table()
        assert len(table) == 12_047
        assert len(set(table.values())) == 6_171
        assert list(table) == sorted(table)
        assert max(table) < 1 << patients.KEY_BITS

    def test_it_is_small(self):
        assert SIIM_TABLE.stat().st_size < 70_000

    def test_an_image_that_is_known(self):
        assert siim_patient(EXAMPLE) == "2563"

    @pytest.mark.parametrize(
        "image_id", ["", "1.2.3", f"{EXAMPLE} ", "ID_0011fe81e", "\udcff", EXAMPLE[:-1]]
    )
    def test_others_are_unknown(self, image_id):
        assert siim_patient(image_id) is None

    def test_foreign_ids_are_not_mistaken(self):
        """One of these is with a probability of 0.001."""
        assert not any(siim_patient(f"1.2.840.{number}") for number in range(100_000))

    def test_looking_up_a_whole_set_is_fast(self):
        siim_patient("loads the table")
        begun = time.perf_counter()
        for number in range(12_000):
            siim_patient(f"1.2.{number}")
        assert time.perf_counter() - begun < 1

    def test_it_is_the_whole_map(self, real_data, tmp_path):
        source = real_data / "annotations" / "patients.csv.gz"
        whole = read_patients(source)
        assert len(whole) == 12_047
        assert len(set(whole.values())) == 6_171
        assert {image_id: siim_patient(image_id) for image_id in whole} == whole
        assert write_table(source, tmp_path / "again.npz") == 12_047
        with (
            np.load(SIIM_TABLE, allow_pickle=False) as shipped,
            np.load(tmp_path / "again.npz", allow_pickle=False) as again,
        ):
            assert {*shipped} == {*again} == {"gaps", "patients"}
            assert all(np.array_equal(shipped[name], again[name]) for name in shipped)


class TestMakingTheTable:
    def test_the_same_map_gives_the_same_bytes(self, tmp_path, monkeypatch):
        rows = [f"1.2.{number},{number % 7 * 9000}" for number in range(2000)]
        for name, own in (("a", rows), ("b", rows[::-1])):
            (tmp_path / f"{name}.csv").write_text("\n".join(["ImageId,patient", *own]) + "\n")
            assert write_table(tmp_path / f"{name}.csv", tmp_path / f"{name}.npz") == 2000
        assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
        monkeypatch.setattr(patients, "SIIM_TABLE", tmp_path / "a.npz")
        patients._siim_table.cache_clear()
        try:
            assert siim_patient("1.2.13") == "54000"
            assert siim_patient(EXAMPLE) is None
        finally:
            patients._siim_table.cache_clear()

    def test_a_call_without_a_map(self):
        assert main([]) == "usage: python -m recipes.siim_patients MAP.csv.gz"

    @pytest.mark.parametrize(
        ("patient", "message"),
        [
            ("00002563", r"image 1\.2\.3: patient '00002563' is not a plain number"),
            ("p7", r"image 1\.2\.3: patient 'p7' is not a plain number"),
            ("65536", r"image 1\.2\.3: patient 65536 is above 65535"),
        ],
    )
    def test_patients_that_do_not_fit(self, patient, message):
        with pytest.raises(DataError, match=message):
            siim_columns({"1.2.3": patient})

    def test_keys_too_far_apart_or_alike(self, monkeypatch):
        with pytest.raises(DataError, match="the 2 images cannot be told apart by gaps of 32 bits"):
            siim_columns({"1.2.3": "1", "1.2.4": "2"})
        monkeypatch.setattr(patients, "KEY_BITS", 8)
        with pytest.raises(DataError, match="between keys of 8; choose another length"):
            siim_columns({str(number): "1" for number in range(257)})


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["12", "13", "12", "P7", "P8", ""], []),
        (["12", "0012", "5"], ["the patients of images i0 and i1 differ by leading zeros"]),
        (["P7", "x", "p7 ", "012", "12.0"], ["images i0 and i2 differ by", "1 more are so"]),
        (["\u00e9", "e\u0301"], ["the form of accents alone: they count as several"]),
        (["1.2E+10", "1.2E+10"], ["the patients of 2 images, such as i0, are numbers that a sp"]),
    ],
)
def test_patients_that_are_likely_one_or_several_are_told_without_their_names(names, said):
    doubts = "; ".join(patients.patient_doubts({f"i{n}": one for n, one in enumerate(names)}))
    assert bool(doubts) == bool(said)
    for part in said:
        assert part in doubts
    assert not any(name in doubts for name in ("0012", "P7", "1.2E+10"))
