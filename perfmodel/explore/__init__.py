"""The page to tune prices by hand."""
