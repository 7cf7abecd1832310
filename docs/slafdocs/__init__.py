"""Makes the pages of the gallery from the registry. ``hook`` hands them to mkdocs; nothing else here knows of it.

``pages.generated()`` is the site's generated Markdown by path. Numbers that take long (the contract, costs, peers) are read from the
JSON files beside the pages, each of which says the command that made it.
"""
