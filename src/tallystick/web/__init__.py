"""
The explorer: pages over what is published, rendered here, without a script (log.md, section 6.4).

`http` is its sibling, and neither knows the other: the server that composes both lets them
`stand_beside` each other.
"""

from tallystick.web.explorer import is_page, make_explorer, stand_beside

__all__ = ["is_page", "make_explorer", "stand_beside"]
