"""
The sender: intents become signed transactions, and signed ones are sent (chain.md, section 4.3).
"""
