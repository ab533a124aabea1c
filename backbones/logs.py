"""Lines for people: in the log of mmengine's run where there is one, else by Python's own logging."""

import logging
import sys


def say(text: str) -> None:
    """Tell a line; nobody who does not use mmengine is made to import it."""
    if 'mmengine.logging' in sys.modules:
        from mmengine.logging import print_log

        print_log(text, logger='current')
    else:
        logging.getLogger('backbones').info(text)
