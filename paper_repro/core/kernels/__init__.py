"""Kernels between images, behind one interface (`kernel.Kernel`)."""
