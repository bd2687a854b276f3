"""The page to tune prices by hand: one HTML file, made from the ledgers of sweeps."""
