"""The live terminal: the ledger as textual draws it."""
