"""
`tally demo`: a story told with the real thing, each expectation checked (log.md, section 6.4).

`shop` is the story; the other modules are what any such story needs: commands as processes,
writers, a change behind the triggers, and the lines on the screen.
"""
