"""A server process for tests: serves what its environment's settings name."""

from tallystick.config import load_settings
from tallystick.http import serve

serve(load_settings())
