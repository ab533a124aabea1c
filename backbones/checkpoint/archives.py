"""Check zip archives, the format of PyTorch's checkpoints, before anything in them is unpacked."""

import zipfile
from pathlib import Path

# PyTorch stores tensors uncompressed, so an honest archive declares no more bytes than it has.
MOST_INFLATION = 4


class ArchiveError(ValueError):
    """A zip archive cannot be a checkpoint."""


def check_archive(path: Path) -> None:
    """Compare what a zip archive claims to hold with what it is, before anything is inflated or read.

    Raises:
        ArchiveError: its declared sizes are out of proportion, it holds no PyTorch pickle, or its bytes are damaged,
            which PyTorch would not notice.
    """
    with zipfile.ZipFile(path) as archive:
        declared = sum(entry.file_size for entry in archive.infolist())
        size = path.stat().st_size
        if declared > MOST_INFLATION * size:
            raise ArchiveError(f'its {size} bytes claim to hold {declared}, as no checkpoint does; it is not unpacked')
        names = archive.namelist()
        if any(name.endswith('/constants.pkl') for name in names):
            raise ArchiveError('it is a TorchScript program, which is code: save model.state_dict() of it')
        if not any(name.endswith('data.pkl') for name in names):
            raise ArchiveError(f'it is a zip archive of {", ".join(names[:3]) or "nothing"}, not of weights: unpack it')
        broken = archive.testzip()
    if broken:
        raise ArchiveError(f'{broken} in it is damaged: copy or download it again')
