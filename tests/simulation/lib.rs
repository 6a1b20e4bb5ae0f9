//! Nothing: the worlds are tests.
