"""The trainable layers over a frozen UNet and text encoder, and what makes both keep little."""
