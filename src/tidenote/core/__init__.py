"""The pure heart: clocks, registers, merge. No I/O, no clock, no randomness, no logging; anything may import it."""
