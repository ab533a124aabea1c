"""Known directory layouts of labelled images, described for people."""

from backbones.data.coco.layout import COCO_LAYOUTS

ADE_LAYOUTS = """\
  ADE20K:   images/{training,validation}/, annotations/{training,validation}/*.png, classes.txt (line n names label n,
            label 0 is ignored; with --zero-is-class line 1 names label 0); parts may be called train and val, and
            directories img_dir, ann_dir, masks or labels; ADE20K itself may lie in ADEChallengeData2016/ and needs no
            classes.txt"""
FOLDER_LAYOUTS = """\
  classes:  train/CLASS/ and val/CLASS/ (or valid/, validation/), images at any depth below CLASS"""


def known_layouts(kind: str) -> str:
    """Describe the layouts of a kind ('coco', 'ade' or 'folders') for people."""
    return 'Known layouts:\n' + {'coco': COCO_LAYOUTS, 'ade': ADE_LAYOUTS, 'folders': FOLDER_LAYOUTS}[kind]
