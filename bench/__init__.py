"""Benchmarks: what a page of Freehold costs beside the same page of a bare Flask and sqlite3 application."""
