//! Who we are towards servers that somebody else runs: logins and certificates, and the files that hold them. One
//! crate, because orchestrator and workers may not see each other and must not differ in this.

mod address;
mod failure;
mod file;
mod key;
mod login;
mod settings;

pub use address::{Address, without_login};
pub use failure::{Trouble, trouble};
pub use file::{FileError, Pem, check_pem, open_to_others};
pub use login::Login;
pub use settings::{Access, Naming, Problem};
