"""Datasets: a user's files read into tensors, tables (CSV, Parquet), images (IDX, folders of image files) and what a function of theirs
returns. Every reader says what it did in notes and refuses what it would have to guess. No network, model or study lives here, nothing is
downloaded, and nothing changes a file. Imports core alone; pandas, pyarrow and Pillow when a file first needs them.
"""

from .arrays import Arrays, arrays_from
from .encode import TableSplit
from .function import is_function, load_function
from .images import Images, image_files, read_images
from .split import Split, draw
from .table import Table, read_table, table_files

__all__ = [
    "Arrays",
    "Images",
    "Split",
    "Table",
    "TableSplit",
    "arrays_from",
    "draw",
    "image_files",
    "is_function",
    "load_function",
    "read_images",
    "read_table",
    "table_files",
]
