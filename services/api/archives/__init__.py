"""Archives of conversations that other assistants, or another monGARS, exported: read whole, then imported."""
