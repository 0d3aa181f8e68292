from pathlib import Path

import pytest

from chandlery.errors import MachineError
from chandlery.source import apt_sources
from chandlery.source.apt_sources import AptSource

MAIN = AptSource(("http://mirror.test/debian",), ("stone", "stone-updates"), ("main", "contrib"), (("Signed-By", "/usr/share/keyrings/a.gpg"),))
SECURITY = AptSource(("http://mirror.test/security",), ("stone-security",), ("main",))
VENDOR = AptSource(("https://vendor.test/apt",), ("stone",), ("stable",))


def test_one_line_entries_are_read_with_their_options() -> None:
    text = "# deb http://no.test x main\ndeb [arch=amd64 signed-by=/k.gpg] http://m.test/d stone main contrib # why\ndeb-src http://m.test/d stone main\n"

    found = apt_sources.parse_lines(text)

    assert found == [AptSource(("http://m.test/d",), ("stone",), ("main", "contrib"), (("Signed-By", "/k.gpg"),))]


def test_paragraphs_are_read_with_keys_that_span_lines() -> None:
    text = (
        "Types: deb deb-src\nURIs: http://m.test/d\nSuites: stone stone-updates\n# a remark\nComponents: main\n"
        "Signed-By:\n -----BEGIN\n .\n KEY\n\nTypes: deb-src\nURIs: x\n"
    )

    (found,) = apt_sources.parse_paragraphs(text)

    assert found.suites == ("stone", "stone-updates")
    assert found.keyring == ""
    assert dict(found.options)["Signed-By"].startswith("-----BEGIN\n .")


def test_a_disabled_paragraph_is_left_out() -> None:
    assert apt_sources.parse_paragraphs("Enabled: no\nTypes: deb\nURIs: x\nSuites: s\nComponents: main\n") == []


def test_what_is_rendered_reads_back_the_same() -> None:
    assert apt_sources.parse_paragraphs(apt_sources.render((MAIN, SECURITY))) == [MAIN, SECURITY]


def test_the_machines_files_are_read_in_apts_order(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://first.test stone main\n")
    (tmp_path / "sources.list.d/b.sources").write_text("Types: deb\nURIs: http://third.test\nSuites: stone\nComponents: main\n")
    (tmp_path / "sources.list.d/a.list").write_text("deb http://second.test stone main\n")
    (tmp_path / "sources.list.d/c.list.save").write_text("deb http://never.test stone main\n")

    assert [source.uris[0] for source in apt_sources.read_machine(str(tmp_path))] == ["http://first.test", "http://second.test", "http://third.test"]


def test_a_suite_comes_with_its_pockets_and_without_third_parties() -> None:
    found = apt_sources.for_suite((MAIN, VENDOR, SECURITY), "stone", own_suite="stone")

    assert [(source.uris[0], source.suites) for source in found] == [
        ("http://mirror.test/debian", ("stone", "stone-updates")),
        ("http://mirror.test/security", ("stone-security",)),
    ]


def test_another_release_is_looked_for_where_the_machines_own_comes_from() -> None:
    found = apt_sources.for_suite((MAIN, SECURITY), "iron", own_suite="stone")

    assert [source.suites for source in found] == [("iron", "iron-updates"), ("iron-security",)]


def test_a_rolling_release_has_no_pockets() -> None:
    assert [source.suites for source in apt_sources.for_suite((MAIN, SECURITY), "sid", own_suite="stone")] == [("sid",)]


def test_a_machine_without_sources_is_refused() -> None:
    with pytest.raises(MachineError) as refused:
        apt_sources.for_suite((VENDOR,), "stone", own_suite="stone")

    assert refused.value.code == "machine.no-apt-sources"
