"""The Processing provider: parameters to job to layers, nothing else."""
