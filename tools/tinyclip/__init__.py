"""The tiny CLIP of the demo: how it is trained and measured, see docs/tinyclip.md.

``make tinyclip`` runs it. The package does not hold it: what the demo needs is the trained model,
``clip_assets/demo/model``, and what the model learns from are the demo's own scenes and captions.
"""
