"""Many vCPUs: what their faults, conversions and tear-down wait for, and where it stops scaling."""
