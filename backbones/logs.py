"""Log lines for people: to mmengine's log during one of its runs, else to Python's own logging."""

import logging
import sys


def say(text: str) -> None:
    """Log a line, without importing mmengine where nothing else has."""
    if 'mmengine.logging' in sys.modules:
        from mmengine.logging import print_log

        print_log(text, logger='current')
    else:
        logging.getLogger('backbones').info(text)
