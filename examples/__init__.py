"""Short scripts to read and to start from; tests/test_examples.py runs them."""
