"""The routes of the JSON API: each parses, calls one operation of a slice, and answers."""
