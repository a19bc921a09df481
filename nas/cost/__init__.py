"""What a network costs: compiled costs of a space, latencies kept surely, memory of training."""
