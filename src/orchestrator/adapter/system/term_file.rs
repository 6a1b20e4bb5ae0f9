//! The highest term that was ever taken, in a file of the data folder.

use std::io::{Error, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use streamkeeper_protocol::Term;

use crate::port::TermMemory;

const TERM_FILE: &str = "term";

/// The file.
#[derive(Debug, Clone)]
pub struct TermFile {
    path: PathBuf,
}

impl TermFile {
    /// The file of a data folder.
    #[must_use]
    pub fn of(data_dir: &Path) -> Self {
        Self {
            path: data_dir.join(TERM_FILE),
        }
    }

    fn bad(&self, problem: &str) -> Error {
        let path = self.path.display();
        let help =
            "if the database is intact, delete the file; otherwise write a number above every term ever used";
        Error::new(ErrorKind::InvalidData, format!("{path}: {problem}; {help}"))
    }
}

impl TermMemory for TermFile {
    fn load(&self) -> std::io::Result<Term> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Term::ZERO),
            Err(error) => return Err(self.bad(&error.to_string())),
        };
        let number = text.trim().parse::<u32>().ok();
        let term = number.and_then(|number| Term::new(number).ok());
        term.ok_or_else(|| self.bad(&format!("{:?} is no term", text.trim())))
    }

    fn save(&self, term: Term) -> std::io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        writeln!(file, "{}", term.get())?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        // The name is durable only when the folder is.
        std::fs::File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_survives_and_a_broken_file_is_no_zero() {
        let folder = tempfile::tempdir().unwrap();
        let file = TermFile::of(folder.path());
        assert_eq!(file.load().unwrap(), Term::ZERO);
        file.save(Term::new(48).unwrap()).unwrap();
        assert_eq!(file.load().unwrap().get(), 48);
        for bad in ["", "x", "-1", "4294967295"] {
            std::fs::write(folder.path().join(TERM_FILE), bad).unwrap();
            assert!(
                file.load().unwrap_err().to_string().contains("is no term"),
                "{bad}"
            );
        }
    }
}
