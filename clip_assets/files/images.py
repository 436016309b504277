"""Which image files of strangers are taken; how they are decoded is the matter of who decodes.

Downloads decode with OpenCV and encoders with Pillow, so each adds to ``FORMATS`` what its own
decoder can be trusted with.
"""

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM")
"""Pillow's names of the formats that are taken, whatever a file is called: images as the web
has them. Pillow knows more, and would start Ghostscript for a stranger's PostScript."""

MAX_PIXELS = 89_478_485
"""Of one decoded image: a quarter of a GiB as RGB, and Pillow's own limit."""
