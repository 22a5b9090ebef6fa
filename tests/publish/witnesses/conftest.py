"""A builder of logs and a publisher, as the tests of publishing have them."""

from tests.publish.conftest import builder, publisher

__all__ = ["builder", "publisher"]
