"""The HTTP API: C2SP static trees, JSON routes, events, health, metrics (log.md, section 6)."""

from tallystick.http.app import Pages, create_app
from tallystick.http.authorize import Authorizer, Principal
from tallystick.http.server import make_services, serve
from tallystick.http.services import Services

__all__ = [
    "Authorizer",
    "Pages",
    "Principal",
    "Services",
    "create_app",
    "make_services",
    "serve",
]
