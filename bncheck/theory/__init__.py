"""WHAT HOLDS FOR A LAYER? Statements as data, proved for every size or exact on rationals."""
