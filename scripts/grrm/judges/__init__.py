"""How judges are asked and what their answers say; who answers is `grrm.asking`. Nothing here does I/O but
reading a prompt's file."""
