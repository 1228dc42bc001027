"""Tensors: arrays as they travel. Plugs into rpc as a ValueExtension."""
