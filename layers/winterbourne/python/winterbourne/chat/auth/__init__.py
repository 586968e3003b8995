"""Authentication: who may call, one module per scheme. AUTH chooses one."""
