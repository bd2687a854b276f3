"""Many vCPUs: an event-driven simulation of threads that meet at cache lines, locks, memory and IPIs."""
