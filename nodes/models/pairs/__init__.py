"""The model pairs that ship with draftwire: weights, tokenizers, model cards."""
