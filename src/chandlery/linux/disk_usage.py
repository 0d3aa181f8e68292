"""What a tree takes on the disk."""

import os


def tree_size(path: str) -> int:
    """Bytes allocated for everything in the directory `path`, hard links once, the directory itself included; links are not followed."""
    total = os.lstat(path).st_blocks
    seen: set[tuple[int, int]] = set()
    pending = [path]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                found = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif found.st_nlink > 1:
                    if (found.st_dev, found.st_ino) in seen:
                        continue
                    seen.add((found.st_dev, found.st_ino))
                total += found.st_blocks
    return total * 512
