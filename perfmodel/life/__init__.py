"""A TD's life as a chain of phases: build, boot, conversions, splits, tear-down."""
