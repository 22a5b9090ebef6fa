"""
Sources to artifacts (chain.md, section 5.3): Vyper, offline, the same bytes every time.

`python -m tallystick.chain.contracts` writes `NAME.json` beside each `NAME.vy`.
Vyper cannot declare errors, so a source names them in its documentation, as in
`@custom:errors AlreadyAnchored(uint64 blockNumber)`, several with semicolons between; they
stand in the ABI like any other compiler's.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from pathlib import Path
from typing import Any, Final

from tallystick.chain.contracts.artifacts import Artifact, format_artifact
from tallystick.chain.contracts.errors import CompilerMissingError, MalformedSourceError

EVM_VERSION: Final = "cancun"
ERROR_FORM: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\(([^()]*)\)")
"""An error's name and its arguments, each `type name`."""


def compile_source(name: str, source: str) -> Artifact:
    """
    Return what the contract *name* is compiled to.

    Raises:
        CompilerMissingError: Vyper is not installed.
        MalformedSourceError: The source does not compile, or does not say its version.
    """
    if importlib.util.find_spec("vyper") is None:
        raise CompilerMissingError
    # A tool of developers without types; its import takes its time.
    import vyper  # type: ignore[import-untyped]  # noqa: PLC0415
    from vyper.compiler.settings import Settings  # type: ignore[import-untyped]  # noqa: PLC0415
    from vyper.exceptions import VyperException  # type: ignore[import-untyped]  # noqa: PLC0415

    wanted = ["abi", "devdoc", "bytecode", "bytecode_runtime"]
    try:
        made = vyper.compile_code(
            source,
            # The path is part of nothing that is returned.
            contract_path=f"{name}.vy",
            output_formats=wanted,
            settings=Settings(evm_version=EVM_VERSION),
        )
    except VyperException as error:
        raise MalformedSourceError(f"{name}: {type(error).__name__}") from error
    documented = made["devdoc"]
    if "custom:version" not in documented:
        raise MalformedSourceError(f"{name}: the source has no @custom:version")
    return Artifact(
        name=name,
        version=documented["custom:version"],
        compiler=f"vyper {vyper.__version__.partition('+')[0]}",
        evm_version=EVM_VERSION,
        abi=[*made["abi"], *declared_errors(documented.get("custom:errors", ""))],
        bytecode=bytes.fromhex(made["bytecode"][2:]),
        runtime_bytecode=bytes.fromhex(made["bytecode_runtime"][2:]),
        source_sha256=hashlib.sha256(source.encode()).digest(),
    )


def declared_errors(text: str) -> list[dict[str, Any]]:
    """
    Return the ABI of the errors that a source's documentation names.

    Raises:
        MalformedSourceError: One is not of the form `Name(type name, ...)`.
    """
    return [declared_error(part.strip()) for part in text.split(";") if part.strip()]


def declared_error(text: str) -> dict[str, Any]:
    """
    Return the ABI of one error.

    Raises:
        MalformedSourceError: It is not of the form `Name(type name, ...)`.
    """
    found = ERROR_FORM.fullmatch(text)
    words = [part.split() for part in found[2].split(",") if part.strip()] if found else []
    pairs = [(pair[0], pair[1]) for pair in words if len(pair) == len(("type", "name"))]
    if found is None or len(pairs) != len(words):
        raise MalformedSourceError(f"{text!r} is no error: name its arguments as `type name`")
    inputs = [{"name": name, "type": type_} for type_, name in pairs]
    return {"type": "error", "name": found[1], "inputs": inputs}


def compile_folder(folder: Path) -> list[str]:
    """Write the artifact of each source in *folder*, and return the names of those that changed."""
    changed = []
    for source in sorted(folder.glob("*.vy")):
        target = source.with_suffix(".json")
        text = format_artifact(compile_source(source.stem, source.read_text("utf-8")))
        if not target.is_file() or target.read_text("utf-8") != text:
            target.write_text(text, encoding="utf-8")
            changed.append(source.stem)
    return changed
