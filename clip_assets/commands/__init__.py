"""The commands of ``clip-assets``: each reads settings, calls one function and prints."""
