//! The machine itself: clocks, the lock on the data folder, the file that remembers terms.

mod clock;
mod data_dir;
mod own_key;
mod term_file;

pub use clock::SystemClock;
pub use data_dir::{DataDir, DataDirError};
pub use own_key::OwnKey;
pub use term_file::TermFile;
