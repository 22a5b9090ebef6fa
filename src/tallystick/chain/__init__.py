"""The chain: networks, transactions, contracts and the evidence of inclusion (chain.md)."""
