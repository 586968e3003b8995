platform := x86_64-manylinux_2_28
