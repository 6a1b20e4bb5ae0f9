//! The hidden verb `bench-reader`: the command of every stream in a bench, as small as a reader can be.
//!
//! It connects to its source, the judge, says which stream it reads under which epoch, and says so again once it has
//! read the first byte. Then it reads until one of both ends.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;

/// The verb.
pub(crate) const READER: &str = "bench-reader";
/// What a reader answers to its first byte.
pub(super) const HEARD: u8 = b'+';
/// Exit code for a source that is no address.
const EXIT_USAGE: u8 = 2;

/// Reads from `HOST:PORT` until it ends.
pub(crate) fn reader_main(source: Option<OsString>) -> ExitCode {
    let Some(source) = source.and_then(|source| source.into_string().ok()) else {
        let _ = writeln!(
            io::stderr(),
            "usage: {READER} HOST:PORT, as the command of a stream"
        );
        return ExitCode::from(EXIT_USAGE);
    };
    match read(&source) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{READER}: {source}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read(source: &str) -> io::Result<()> {
    let own = |name: &str| std::env::var(format!("STREAMKEEPER_{name}")).unwrap_or_default();
    let mut judge = TcpStream::connect(source)?;
    judge.set_nodelay(true)?;
    let hello = format!("{} {} {}\n", own("STREAM"), own("WORKER"), own("EPOCH"));
    judge.write_all(hello.as_bytes())?;
    let mut byte = [0];
    judge.read_exact(&mut byte)?;
    judge.write_all(&[HEARD])?;
    while judge.read(&mut byte)? > 0 {}
    Ok(())
}
