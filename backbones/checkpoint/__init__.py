"""Load weight files of any dialect into a PlainViT, with a report and without running code from the file."""

from backbones.checkpoint.load import Report, check_pretrained, load_pretrained, read_checkpoint
from backbones.checkpoint.write import inspect_checkpoint, write_encoder

__all__ = [
    'Report',
    'check_pretrained',
    'inspect_checkpoint',
    'load_pretrained',
    'read_checkpoint',
    'write_encoder',
]
