platform := aarch64-manylinux_2_28
