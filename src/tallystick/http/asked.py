"""What handlers ask for by their parameters, each with how the framework provides it."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, QueryParameter

from tallystick.http.authorize import Principal
from tallystick.http.reading import Reading
from tallystick.http.services import Services
from tallystick.http.writing import Writing
from tallystick.publish import PublishedHead

MAX_KEY_COLUMNS: Final = 32
"""PostgreSQL's own limit of columns in an index."""
MAX_TEXTS: Final = 100

AnyRequest: TypeAlias = Request[Any, Any, Any]
Served: TypeAlias = NamedDependency[Services]
Caller: TypeAlias = NamedDependency[Principal | None]
Read: TypeAlias = NamedDependency[Reading]
"""The reads of a route that need not be the newest."""
Write: TypeAlias = NamedDependency[Writing]
"""The transaction of a route that writes."""
Head: TypeAlias = NamedDependency[PublishedHead]
"""The published head of the log that the path names."""

LogName: TypeAlias = FromPath[str]
TableName: TypeAlias = FromPath[str]
Index: TypeAlias = FromPath[int]

Text: TypeAlias = Annotated[str | None, QueryParameter()]
Texts: TypeAlias = Annotated[list[str] | None, QueryParameter(max_items=MAX_TEXTS)]
Flag: TypeAlias = Annotated[bool | None, QueryParameter()]
Number: TypeAlias = Annotated[int | None, QueryParameter(ge=0, le=2**53 - 1)]
Limit: TypeAlias = Annotated[int | None, QueryParameter(description="1 to 1000; 100.")]
After: TypeAlias = Annotated[
    str | None, QueryParameter(description="The `next` of the page before.")
]
IfMatch: TypeAlias = Annotated[
    str, HeaderParameter(name="If-Match", description="The version that was read.")
]
LeafBytes: TypeAlias = Annotated[
    str | None, QueryParameter(name="hash", description="Leaf bytes in base64.")
]
Key: TypeAlias = Annotated[
    list[str] | None,
    QueryParameter(
        max_items=MAX_KEY_COLUMNS,
        description="The key's columns, one by one, or as one JSON array of their texts.",
    ),
]
