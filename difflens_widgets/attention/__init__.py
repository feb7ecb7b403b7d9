"""Where each word looks: attention, read while the stock pipeline draws, without touching the picture.

The way through this room: `options` what is asked for · `_denoiser` what is asked of a denoiser: `layers` a U-Net's
cross-attention, `joint` SD3's and FLUX's · `plan` what is kept and how many bytes that takes · `_probe` hears queries
and keys inside a module · `_sums` adds probabilities up · `capture` puts these together around a pipeline call · `maps`
the record that comes back (no torch) · `encoder` the text encoder's own self-attention.

The maps tell where the denoiser looks, which is not the same as why the picture is as it is.
"""
