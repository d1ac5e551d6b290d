"""Text-conditioned latent diffusion of brain MRI slices."""
