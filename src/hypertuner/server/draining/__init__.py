"""The queue and the machine: what waits and why, who starts it, how busy the machine is."""
