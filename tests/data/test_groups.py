import pytest
from hypothesis import given
from hypothesis import strategies as st

from pleura.data.groups import Bearer, group_by, judge_ids
from pleura.pictures.near_duplicates import components

LABELS = st.one_of(st.none(), st.sampled_from(["", "a", "b", "c"]))


def carried(*keys, part="train"):
    return [Bearer(key, part, (part, n)) for n, key in enumerate(keys)]


class TestGroups:
    def test_places_that_pairs_connect_have_one_number(self):
        assert components([(0, 3), (4, 3)], 6).tolist() == [0, 1, 2, 0, 0, 3]
        assert components([], 3).tolist() == [0, 1, 2]
        assert components([], 0).tolist() == []

    def test_what_is_linked_over_a_third_is_one_group(self):
        assert group_by(["x", "x", "y", None], [None, "1", "1", ""]).tolist() == [0, 0, 0, 1]
        assert group_by([None, "", None]).tolist() == [0, 1, 2]

    @given(st.lists(st.tuples(LABELS, LABELS), max_size=12))
    def test_a_shared_label_is_a_shared_group_and_order_does_not_matter(self, pairs):
        one, two = [a for a, _ in pairs], [b for _, b in pairs]
        groups = group_by(one, two).tolist() if pairs else []
        for labels in (one, two):
            for label in {label for label in labels if label}:
                own = {g for g, value in zip(groups, labels, strict=True) if value == label}
                assert len(own) == 1
        turned = group_by(one[::-1], two[::-1]).tolist()[::-1] if pairs else []
        same = [[a == b for b in groups] for a in groups]
        assert same == [[a == b for b in turned] for a in turned]


class TestIds:
    @pytest.mark.parametrize(
        ("keys", "use"),
        [
            (["a", "b", "a"], "groups"),
            (["a", "b"], ""),
            (["a", "a"], ""),  # few: one patient, or a placeholder
            ([f"{n}" for n in range(10)], "unique"),
            ([f"{n}" for n in range(9)], ""),
            (["a"] * 10, "shared"),
            (["a"] * 6 + ["b"] * 4, "shared groups"),
        ],
    )
    def test_what_ids_are_good_for(self, keys, use):
        uses = dict(zip(keys, judge_ids(carried(*keys)), strict=True))
        assert " ".join(dict.fromkeys(uses.values())) == use

    def test_an_image_without_an_id_says_nothing_of_the_others(self):
        keys = [f"{n}" for n in range(15)] + [""]
        assert judge_ids(carried(*keys)) == ["unique"] * 15 + [""]
        assert judge_ids(carried(*["anon"] * 15, "")) == ["shared"] * 15 + [""]
        assert judge_ids(carried(*["anon"] * 15, "x")) == ["shared"] * 15 + [""]

    def test_a_copy_is_no_second_picture(self):
        bearers = carried(*(f"{n}" for n in range(12)))
        assert judge_ids([*bearers, bearers[0]]) == ["unique"] * 13

    def test_a_patient_of_the_training_part_who_fills_the_test_part_is_a_patient(self):
        train = carried(*(f"p{n // 3}" for n in range(30)))
        for count in (1, 12):
            test = carried(*["p1"] * count, part="test")
            assert set(judge_ids([*train, *test])) == {"groups"}

    def test_a_placeholder_fills_each_large_part_where_it_occurs(self):
        train = carried(*["anon"] * 20)
        test = carried("anon", "anon", part="test")
        assert set(judge_ids([*train, *test])) == {"shared"}
        apart = judge_ids(
            [*carried(*(f"{n}" for n in range(20))), *carried(*["t"] * 12, part="test")]
        )
        assert apart == ["unique"] * 20 + ["shared"] * 12

    def test_unique_ids_of_one_part_are_not_made_patients_by_the_other(self):
        train = carried(*(f"{n}" for n in range(20)))
        test = carried("a", "a", "b", "b", part="test")
        assert judge_ids([*train, *test]) == ["unique"] * 20 + ["groups"] * 4
