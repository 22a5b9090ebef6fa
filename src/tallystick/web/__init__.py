"""
The explorer: pages over what is published, rendered here, without a script (log.md, section 6.4).

`http` is its sibling, and neither knows the other: `runtime`, above both, puts them together.
"""

from tallystick.web.access import Host, Visitor
from tallystick.web.explorer import is_page, make_explorer

__all__ = ["Host", "Visitor", "is_page", "make_explorer"]
