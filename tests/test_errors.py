"""Text of messages."""

from masquerade.text import name_some


def test_a_list_of_names_says_how_many_more_there_are() -> None:
    names = ["a", "b, c", "d"]
    assert name_some([], 2) == ""
    assert name_some(names, 3) == "a, b, c, d" and name_some(names[:1], 3) == "a"
    assert name_some(names, 1) == "a and 2 more"
    assert name_some(names, 3, separator="; ") == "a; b, c; d"
    assert name_some(names, 2, separator="; ") == "a; b, c; and 1 more"
