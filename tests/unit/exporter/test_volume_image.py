"""How a volume's files are shared out among an image's layers."""

import random

from chandlery.exporter.volume_image import ranges
from chandlery.volume.tree import Entry, EntryType, Version

BY = Version(1, "w", 1)
MIB = 1 << 20


def tree(sizes):
    """Entries of files (path -> size) with the directories above them, as a union gives them."""
    directories = {""} | {"/".join(path.split("/")[:depth]) for path in sizes for depth in range(1, path.count("/") + 1)}
    entries = [Entry(path, EntryType.DIRECTORY, 0o755, 0, 0, 0, BY) for path in directories]
    entries += [Entry(path, EntryType.FILE, 0o644, 0, 0, 0, BY, size) for path, size in sizes.items()]
    return [(entry, f"/files/{entry.path}") for entry in sorted(entries, key=lambda entry: entry.path.split("/"))]


def repository(artifacts, *, seed=1):
    chosen = random.Random(seed)
    return {f"org/group{chosen.randrange(60):02}/artifact{number}/1.0/a.jar": chosen.randrange(1000, MIB) for number in range(artifacts)}


def described(layers):
    return [tuple((entry.path, entry.size) for entry, _ in layer) for layer in layers]


def test_every_file_is_in_one_layer_and_every_layer_has_the_directories_of_its_files():
    files = tree(repository(400) | {"settings/empty.txt": 0, "top": 5})
    layers = ranges(files)
    listed = [entry.path for layer in layers for entry, _ in layer if not entry.is_directory]
    assert sorted(listed) == sorted(entry.path for entry, _ in files if not entry.is_directory)
    for layer in layers:
        seen = set()
        for entry, _ in layer:
            assert not entry.path or entry.path.rpartition("/")[0] in seen
            seen.add(entry.path)


def test_layers_are_few_and_about_as_large_as_each_other():
    for artifacts in (50, 400, 3000):
        sizes = repository(artifacts)
        layers = ranges(tree(sizes))
        assert len(layers) <= 48
        total = sum(sizes.values())
        assert max(sum(entry.size for entry, _ in layer) for layer in layers) <= max(20 * MIB, total // 4)


def test_one_more_artifact_changes_the_one_range_that_it_lies_in():
    sizes = repository(400)
    before = set(described(ranges(tree(sizes))))
    for group in range(0, 60, 7):
        after = described(ranges(tree(sizes | {f"org/group{group:02}/new/1.0/a.jar": 50_000})))
        changed = [layer for layer in after if layer not in before]
        assert 1 <= len(changed) <= 3
        moved = sum(size for layer in changed for _, size in layer)
        assert moved < sum(sizes.values()) / 5


def test_nothing_but_the_root_is_a_layer_too():
    assert described(ranges(tree({}))) == [(("", 0),)]


def test_empty_directories_are_kept():
    files = tree({"a/b/c": 1})
    files = [file for file in files if file[0].is_directory]
    assert [path for layer in described(ranges(files)) for path, _ in layer] == ["", "a", "a/b"]
