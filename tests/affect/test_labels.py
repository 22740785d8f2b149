"""The label names against the lists of the challenge's paper and of AffectNet."""

from __future__ import annotations

from affect import labels


def test_orders_are_those_of_the_annotation_files() -> None:
    assert labels.EXPRESSIONS.index("anger") == 1
    assert labels.EXPRESSIONS[-1] == "other"
    assert labels.LSD_EXPRESSIONS == ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
    assert [int(name.removeprefix("au")) for name in labels.AU_NAMES] == [1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26]


def test_affectnet_orders_hold_the_same_classes() -> None:
    assert labels.AFFECTNET_ALPHABETICAL == (
        "anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise",
    )  # fmt: skip
    assert sorted(labels.AFFECTNET_EXPRESSIONS) == list(labels.AFFECTNET_ALPHABETICAL)


def test_affectnet_columns_find_each_expression_and_leave_other_out() -> None:
    for order in (labels.AFFECTNET_EXPRESSIONS, labels.AFFECTNET_ALPHABETICAL):
        columns = labels.affectnet_columns(order)
        found = [None if column is None else order[column] for column in columns]
        assert found == [*labels.EXPRESSIONS[:-1], None]
    assert labels.affectnet_columns() == (0, 6, 5, 4, 1, 2, 3, None)
