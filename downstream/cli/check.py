"""Look through config, data and weights as `train` does with the same arguments, and train nothing.

examples:
  dense-mae check mae_tiny --data-root PHOTOS
  dense-mae check mask_rcnn_vit_tiny --data-root COCO_STYLE_DIR --pretrained work_dirs/mae_tiny/epoch_20.pth
  dense-mae check upernet_vit_tiny --data-root ADE_STYLE_DIR --img-size 256
"""

from collections.abc import Sequence

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from backbones.console.errors import Parser
from backbones.data.pointing.places import PARTS
from backbones.engine.launch.keys import named_keys
from backbones.engine.launch.run_flags import read_arguments
from downstream.cli.train import add_arguments, prepare


def build_parser() -> Parser:
    """The command line, which is that of `train`."""
    return add_arguments(Parser(__doc__))


def main(argv: Sequence[str] | None = None) -> None:
    """Print what was found."""
    cfg, told = prepare(read_arguments(build_parser(), argv))
    print('\n'.join([*told, *sizes(cfg)]))
    print('nothing stands in the way of training')


def sizes(cfg: Config) -> list[str]:
    """Build the data sets of a config, and report how many images each has."""
    lines = []
    with named_keys(cfg), DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        for part in PARTS:
            loader = cfg.get(f'{part}_dataloader')
            if loader:
                lines.append(f'{part}: {len(DATASETS.build(loader.dataset))} images are read')
    return lines
