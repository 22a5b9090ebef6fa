"""
Our contracts: sources and artifacts, what their calls look like, and where they stand.

Follows chain.md, sections 4.2, 5.3 and 5.4. `NAME.vy` is the source and `NAME.json` the
artifact that is shipped; `python -m tallystick.chain.contracts` makes the one from the other.
"""

from tallystick.chain.contracts.abi import (
    decode_deployment,
    encode_call,
    encode_deployment,
    find_entry,
    selector_of,
    signature_of,
    topic_of,
)
from tallystick.chain.contracts.artifacts import Artifact, artifact_names, load_artifact
from tallystick.chain.contracts.checking import Checked, check_contracts, check_sources
from tallystick.chain.contracts.follower import DeploymentFollower
from tallystick.chain.contracts.registry import (
    DEPLOY_TYPE,
    deploy,
    get_contract,
    get_contract_at,
    list_contracts,
    register_contract,
)

__all__ = [
    "DEPLOY_TYPE",
    "Artifact",
    "Checked",
    "DeploymentFollower",
    "artifact_names",
    "check_contracts",
    "check_sources",
    "decode_deployment",
    "deploy",
    "encode_call",
    "encode_deployment",
    "find_entry",
    "get_contract",
    "get_contract_at",
    "list_contracts",
    "load_artifact",
    "register_contract",
    "selector_of",
    "signature_of",
    "topic_of",
]
