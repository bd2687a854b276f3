"""One file a command. Each imports what it needs when it runs, so that ``--help`` answers at once."""
