"""Tests of the roots and machines of other releases."""
