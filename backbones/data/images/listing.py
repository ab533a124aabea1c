"""List image files below directories, each once, and tell what was passed over."""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

# Suffixes that count as images in every command.
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.tif', '.tiff', '.webp', '.bmp')


@dataclass
class Listing:
    """Images found, and what was passed over on the way.

    Attributes:
        images: sorted paths per directory, the directories in the order given.
        skipped: number of other files by suffix, without hidden ones.
        repeated: number of links to images that are already listed.
        again: directories reached a second time, by a link or because one given directory lies below another.
        special: paths with an image's name that are not files, such as pipes, sockets and broken links.
        closed: directories that could not be read, and why.
        left_out: directories that ``keep`` passed over.
        empty: given directories without images.
    """

    images: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    again: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """Tell the user what was passed over, one line each."""
        kinds = ', '.join(f'{count} {suffix or "without suffix"}' for suffix, count in self.skipped.most_common(5))
        found = [
            (self.left_out, f'not for training, left out: {_some(self.left_out)} (to take one: give it by itself)'),
            (self.skipped, f'{self.skipped.total()} files are no images and are left out: {kinds}'),
            (self.repeated, f'{self.repeated} links lead to images that are listed already, which count once'),
            (self.again, f'reached more than once, and counted once: {_some(self.again)}'),
            (self.special, f'{len(self.special)} are no files that can be read: {_some(self.special)}'),
            (self.closed, f'{len(self.closed)} directories cannot be read: {_some(self.closed)}'),
        ]
        return [line for what, line in found if what]


def list_images(roots: Sequence[str], keep: Callable[[list[str]], list[str]] | None = None) -> Listing:
    """List the image files under directories, at any depth and through links, each file once.

    Args:
        roots: existing directories.
        keep: gets the sorted names of a directory's subdirectories and returns those to look into; None takes all.
    """
    listing, seen, links = Listing(), set[tuple[int, int]](), set[str]()
    for root in roots:
        start, again = len(listing.images), len(listing.again)
        for place, files in _walk(root, listing, seen, keep):
            _sort_out(place, files, listing, links)
        listing.images[start:] = sorted(listing.images[start:])
        if (start, again) == (len(listing.images), len(listing.again)):
            listing.empty.append(root)
    if links:
        _drop_repeated(listing, links)
    return listing


def shown(path: str | os.PathLike[str]) -> str:
    """Write a path for messages; bytes that are not UTF-8 are escaped, since logs could not hold them."""
    return os.fsencode(path).decode('utf-8', 'backslashreplace')


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image; hidden files, such as a Mac's ``._`` files, do not count."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith('.')


def _walk(
    root: str, listing: Listing, seen: set[tuple[int, int]], keep: Callable[[list[str]], list[str]] | None
) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """Yield each directory once with its files, so that circular links are harmless."""
    waiting = [root]
    while waiting:
        place = waiting.pop()
        try:
            status = os.stat(place)
            if (status.st_dev, status.st_ino) in seen:
                listing.again.append(shown(place))
                continue
            entries = list(os.scandir(place))
        except OSError as error:
            listing.closed.append(f'{shown(place)} ({error.strerror})')
            continue
        seen.add((status.st_dev, status.st_ino))
        folders = sorted(entry.name for entry in entries if _is_folder(entry))
        kept = folders if keep is None else keep(folders)
        listing.left_out += [shown(os.path.join(place, name)) for name in folders if name not in kept]
        waiting += [os.path.join(place, name) for name in reversed(kept)]
        yield place, [entry for entry in entries if entry.name not in folders]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circular link
        return False


def _sort_out(place: str, files: list[os.DirEntry[str]], listing: Listing, links: set[str]) -> None:
    """Sort the files of a directory into the listing."""
    for entry in files:
        path = os.path.join(place, entry.name)
        if entry.name.startswith('.'):
            continue
        if not is_image(entry.name):
            listing.skipped[PurePath(entry.name).suffix.lower()] += 1
        elif not _is_file(entry):
            listing.special.append(shown(path))
        else:
            listing.images.append(path)
            if entry.is_symlink():
                links.add(path)


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _drop_repeated(listing: Listing, links: set[str]) -> None:
    """Keep only the first of several links to one image, and none if the image itself is listed."""
    real = {os.path.realpath(path) for path in listing.images if path not in links}
    kept = []
    for path in listing.images:
        target = os.path.realpath(path)
        if path not in links or target not in real:
            real.add(target)
            kept.append(path)
    listing.repeated += len(listing.images) - len(kept)
    listing.images = kept


def is_regular(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a plain file; opening a pipe would wait for ever.

    Raises:
        OSError: the path does not exist or may not be examined.
    """
    return stat.S_ISREG(os.stat(path).st_mode)


def _some(names: list[str]) -> str:
    return ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')
