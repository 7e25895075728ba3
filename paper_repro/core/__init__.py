"""What the table scripts share: data, preprocessing, kernels, KRR, KIP, Label Solve, results."""
