//! Which file is open: its place may be taken by another one, or by none, while the open one lives on without a name.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file, and what names it besides its path.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl File {
    /// The file that is there now; none where nothing is known about it.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let found = path.metadata().ok()?;
        Some(Self {
            path: path.to_owned(),
            device: found.dev(),
            inode: found.ino(),
        })
    }

    fn is(&self, found: &Metadata) -> bool {
        (found.dev(), found.ino()) == (self.device, self.inode)
    }

    /// An error where it is not there any more, with what to do.
    pub(super) fn in_place(&self) -> Result<(), String> {
        let path = self.path.display();
        match self.path.metadata() {
            Ok(found) if self.is(&found) => Ok(()),
            Ok(_) => Err(format!(
                "the file {path} was replaced by another one while it was in use; put the former one back, or start \
                 streamkeeper anew to go on with this one"
            )),
            Err(error) => Err(format!(
                "the file {path} was removed or moved while it was in use ({error}); put it back, or start streamkeeper \
                 anew after restoring a backup"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_moved_or_replaced_is_missed_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (folder.path().join("a.db"), folder.path().join("b.db"));
        std::fs::write(&path, "x").unwrap();
        let file = File::of(&path).unwrap();
        file.in_place().unwrap();
        std::fs::rename(&path, &elsewhere).unwrap();
        assert!(file.in_place().unwrap_err().contains("removed"));
        std::fs::write(&path, "y").unwrap();
        assert!(file.in_place().unwrap_err().contains("replaced"));
        std::fs::rename(&elsewhere, &path).unwrap();
        file.in_place().unwrap();
    }
}
