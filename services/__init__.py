"""The processes of an installation, one package each; none imports another."""
