"""
What asks EVM nodes: one client of several endpoints, and what is read through it.

Follows chain.md, sections 4.2 and 4.4.5. Nothing here writes a row.
"""

from tallystick.chain.node.client import Call, Node, choose_fit
from tallystick.chain.node.encoding import (
    format_data,
    format_quantity,
    parse_data,
    parse_list,
    parse_object,
    parse_optional_quantity,
    parse_quantity,
)

__all__ = [
    "Call",
    "Node",
    "choose_fit",
    "format_data",
    "format_quantity",
    "parse_data",
    "parse_list",
    "parse_object",
    "parse_optional_quantity",
    "parse_quantity",
]
