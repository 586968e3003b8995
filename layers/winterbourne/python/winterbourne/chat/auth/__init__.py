"""Authentication of callers, one module per scheme. AUTH selects one."""
