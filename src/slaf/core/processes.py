"""Starting processes that do not run the user's script again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["without_main"]


@contextmanager
def without_main() -> Iterator[None]:
    """Processes spawned inside do not import ``__main__``: a script needs no ``if __name__ == "__main__":`` around what starts them.

    Only for work that is importable by name from elsewhere.
    """
    main = sys.modules["__main__"]
    kept = {name: getattr(main, name) for name in ("__spec__", "__file__") if hasattr(main, name)}
    try:
        main.__spec__ = None
        if "__file__" in kept:
            del main.__file__
        yield
    finally:
        for name, value in kept.items():
            setattr(main, name, value)
