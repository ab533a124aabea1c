"""Images with label maps, in ADE20K's layout and its variants."""
