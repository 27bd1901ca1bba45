"""Artefacts of training: their manifests, the installation's signature, and the folders that they are made of."""
