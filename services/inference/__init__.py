"""Generating and embedding on one node, and telling everyone how that node is."""
