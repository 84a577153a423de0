"""The command line: words for a person, one file a group of commands."""
