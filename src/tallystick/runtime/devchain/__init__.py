"""
The embedded dev chain: an EVM with its whole history, as a process of `runtime` (chain.md, 4.5).

    process      the process: journal, machine, server, until it is told to stop
    server       JSON-RPC over HTTP on loopback
    methods      what is answered, by method
    shapes       blocks, transactions, receipts and logs as JSON-RPC shows them
    execution    calls and estimates, which leave nothing behind
    machine      mining, live and replayed; on py-evm
    pool         transactions that wait
    journal      what survives a restart

    place        where it is, and whether `tally up` runs one
    accounts     the keys of its accounts, as files, and what signs with them
    furnishing   accounts, their funds, a price and our contracts on it, by the worker

The EVM is imported by the process alone, in `machine` and what stands above it.
"""
