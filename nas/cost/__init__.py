"""What a network costs: from kernels to params, macs and memory; tables and device models; compiled costs."""
