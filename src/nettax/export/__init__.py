"""The ledger as metrics, for Prometheus."""
