"""The commands, a module for each noun; none is imported before it is called."""
