"""Where pictures come from. A new kind: a module here with a subclass of `ImageSource`, and a line in `SOURCES`."""

from cips_lab.data.sources.base import ImageSource
from cips_lab.data.sources.check import check_readable
from cips_lab.data.sources.choose import SOURCES, open_source
from cips_lab.data.sources.folder import FolderSource
from cips_lab.data.sources.zip import ZipSource

__all__ = ["SOURCES", "FolderSource", "ImageSource", "ZipSource", "check_readable", "open_source"]
