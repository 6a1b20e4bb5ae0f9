//! Schema changes, one per file.
