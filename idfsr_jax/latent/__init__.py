"""The method at 512 px: an autoencoder's latents in place of pixels, and a pretrained UNet in place of our network.

Nothing else imports this package but inside functions, where a configuration asks for it.
"""
