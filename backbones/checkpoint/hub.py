"""Published names in place of paths: Hugging Face repositories, timm's included, and URLs already downloaded."""

import re
from pathlib import Path
from urllib.parse import urlparse

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

# hf:ORG/REPOSITORY[@REVISION][:FILE], and timm/MODEL for timm's own repositories.
HUB_NAME = re.compile(r'(?:(?:hf|hf-hub):(?=[\w.-]+/)|(?=timm/))([\w.-]+/[\w.-]+)(?:@([\w./-]+))?(?::([\w./-]+))?')
# File names of a repository's weights; the first one found counts.
HUB_FILES = ('model.safetensors', 'pytorch_model.bin')


def find_published(name: str) -> Path | None:
    """Find the local file of a published name, downloading it if it is not in the cache.

    Args:
        name: ``timm/vit_base_patch16_224.mae``, ``hf:facebook/vit-mae-base`` (also with ``@revision`` and ``:file``),
            or the URL of a file that `torch.hub` has downloaded.

    Returns:
        the file, or None if ``name`` is an ordinary path (a local file of that name wins).

    Raises:
        ValueError: the name cannot be resolved.
    """
    if Path(name).exists():
        return None
    if '://' in name:
        return _downloaded(name)
    asked = _hub_files(name)
    if not asked:
        return None
    repository, revision, files = asked
    found = _first_file(repository, revision, files, offline=True)
    if found:
        return found
    found = _first_file(repository, revision, files, offline=False)
    if found:
        # The config tells heads and activation.
        _first_file(repository, revision, ('config.json',), offline=False)
        return found
    raise ValueError(
        f'{name} cannot be fetched: {" or ".join(files)} of {repository} is neither in the Hugging Face cache nor '
        'could it be downloaded; fetch it where there is a network and give its path'
    )


def find_cached(name: str) -> Path | None:
    """Find the local file of a Hugging Face name without using the network; None if there is none."""
    asked = None if Path(name).exists() else _hub_files(name)
    return _first_file(*asked, offline=True) if asked else None


def _hub_files(name: str) -> tuple[str, str | None, tuple[str, ...]] | None:
    """Repository, revision and files that a hub name asks for; None if it is not a hub name."""
    match = HUB_NAME.fullmatch(name)
    if not match:
        return None
    repository, revision, file = match.groups()
    return repository, revision, (file,) if file else HUB_FILES


def _downloaded(address: str) -> Path:
    path = Path(torch.hub.get_dir()) / 'checkpoints' / Path(urlparse(address).path).name
    if path.is_file():
        return path
    raise ValueError(f'{address} is an address: download the file and give its local path')


def _first_file(repository: str, revision: str | None, files: tuple[str, ...], offline: bool) -> Path | None:
    for file in files:
        try:
            return Path(hf_hub_download(repository, file, revision=revision, local_files_only=offline))
        except LocalEntryNotFoundError:
            # Online this error means that the hub is unreachable, which takes half a minute to find out for each file.
            if not offline:
                return None
        # The file is missing, unreachable or not allowed; ValueError: not the name of a repository.
        except (EntryNotFoundError, OSError, ValueError):
            continue
    return None
