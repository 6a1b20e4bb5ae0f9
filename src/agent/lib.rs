//! The ready-made worker: one command per stream.
