"""Recorded events: one model, and what reads recordings into it, nettax's own and other tools'."""
