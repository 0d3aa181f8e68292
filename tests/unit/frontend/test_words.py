"""Words: expansion, quotes and escapes, each row as BuildKit decides it."""

import pytest

from chandlery.errors import DockerfileError
from chandlery.frontend.dockerfile.words import Lex

ENV = {"A": "abcab", "P": "a.b.c/d*e\\f", "E": "", "N": "new line", "U1": "u"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"), ("$A", "abcab"), ("${A}x", "abcabx"), ("$Ax", ""), ("$A.x", "abcab.x"), ("$", "$"), ("$ A", "$ A"),
        ("a$", "a$"),
        ("$U1x", ""), ("$1x", "x"), ("$@x", "x"), ("$$A", "A"), ("\\$A", "$A"), ("\\\\$A", "\\abcab"), ("a\\ b", "a b"), ("a\\", "a"),
        ("\\n", "n"),
        ("'$A'", "$A"), ("\"$A\"", "abcab"), ("\"'$A'\"", "'abcab'"), ("'a\\'b", "a\\b"), ("\"a\\\"b\"", 'a"b'), ("\"a\\nb\"", "a\\nb"),
        ("\"\\$A\"", "$A"), ("\"\\\\\"", "\\"), ("a'b'\"c\"", "abc"), ("''", ""), ("<<EOF", "<<EOF"), ("a<b", "a<b"),
    ],
)  # fmt: skip
def test_a_word_is_expanded_and_unquoted(text: str, expected: str) -> None:
    assert Lex().word(text, ENV) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${X:-d}", "d"), ("${X-d}", "d"), ("${E:-d}", "d"), ("${E-d}", ""), ("${A:-d}", "abcab"), ("${X:-}", ""), ("${X:-a b}", "a b"),
        ("${A:+w}", "w"), ("${E:+w}", ""), ("${E+w}", "w"), ("${X+w}", ""), ("${X:-${A}}", "abcab"), ("${X:-${Y:-${A}}}", "abcab"),
        ("${X:-\\}}", "}"), ("${X:-'}'}", "}"), ("${X:-\"$A\"}", "abcab"), ("${A:?no}", "abcab"), ("${E?no}", ""),
        ("${A#a}", "bcab"), ("${A#*b}", "cab"), ("${A##*b}", ""), ("${A%b}", "abca"), ("${A%a*}", "abc"), ("${A%%a*}", ""),
        ("${A#?}", "bcab"),
        ("${P#*.}", "b.c/d*e\\f"), ("${P##*.}", "c/d*e\\f"), ("${P%/*}", "a.b.c"), ("${P%%.*}", "a"), ("${P#a\\.}", None),
        ("${P##*\\*}", "e\\f"),
        ("${P%\\\\*}", "a.b.c/d*e"), ("${A#x}", "abcab"), ("${X#x}", ""), ("${A#}", "abcab"),
        ("${A/a/X}", "Xbcab"), ("${A//a/X}", "XbcXb"), ("${A/b*/X}", "aX"), ("${A//?/X}", "XXXXX"), ("${P/\\//:}", "a.b.c:d*e\\f"),
        ("${A//b/}", "aca"),
        ("${A/z/X}", "abcab"), ("${X/a/b}", ""), ("${A//*/X}", "X"), ("${A//c/$N}", "abnew lineab"), ("${A/a/\\}}", "\\}bcab"),
    ],
)  # fmt: skip
def test_a_substitution_form_is_applied(text: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(DockerfileError):
            Lex().word(text, ENV)
    else:
        assert Lex().word(text, ENV) == expected


@pytest.mark.parametrize(
    "text",
    ["${", "${}", "${:}", "${{A}}", "${A", "${A:-x", "${A:-${B}", "${A!x}", "${A:#x}", "${A:}", "${A@Q}", "${A/b}", "${A/b/c", "${A#\\q}", "${A^}"],
)
def test_a_malformed_substitution_is_refused(text: str) -> None:
    with pytest.raises(DockerfileError) as refused:
        Lex().word(text, ENV)
    assert refused.value.code == "dockerfile.substitution"


@pytest.mark.parametrize("text", ["'a", '"a', "a'", "${A:-'}"])
def test_an_open_quote_is_refused(text: str) -> None:
    with pytest.raises(DockerfileError) as refused:
        Lex().word(text, ENV)
    assert refused.value.code in ("dockerfile.quote", "dockerfile.substitution")


@pytest.mark.parametrize(("text", "words"), [("${X:?give X}", "give X"), ("${X?}", "unset"), ("${E:?}", "empty")])
def test_a_required_variable_names_itself(text: str, words: str) -> None:
    with pytest.raises(DockerfileError) as refused:
        Lex().word(text, ENV)
    assert refused.value.code == "dockerfile.unset-variable"
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b", ["a", "b"]), ("  a\t b ", ["a", "b"]), ("'a b' c", ["a b", "c"]), ("a\\ b", ["a b"]), ("$N x", ["new", "line", "x"]),
        ("\"$N\" x", ["new line", "x"]), ("$E", []), ("''", []), ("a$N", ["anew", "line"]), ("80${X:-81}", ["81"]),
        ("<< EOF", ["<< EOF"]), ("", []),
    ],
)  # fmt: skip
def test_words_are_split_after_expansion(text: str, expected: list[str]) -> None:
    assert Lex().split(text, ENV) == expected


def test_the_other_escape_character_escapes() -> None:
    assert Lex("`").word("`$A \\x ``", ENV) == "$A \\x `"


def test_contents_of_a_file_keep_their_quotes() -> None:
    assert Lex(reads_quotes=False).word("\"q\" 'z' $A \\$A", ENV) == "\"q\" 'z' abcab $A"


def test_progress_keeps_quotes_escapes_and_unset_variables() -> None:
    lex = Lex(keeps_quotes=True, keeps_escapes=True, keeps_unset=True)
    assert lex.word("\"$A\" '$A' \\$A $X ${X} ${X:-d} ${X#p} ${X/a/b}", ENV) == "\"abcab\" '$A' \\$A $X ${X} ${X:-d} ${X#p} ${X/a/b}"
