"""What touches ComfyUI: `shim` runs in the pack's container."""
