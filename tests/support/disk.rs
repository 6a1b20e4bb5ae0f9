//! A disk that is small enough to be filled.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk in memory, mounted on a folder until it is dropped. Mounting needs root.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
    /// A second mount lies on it, through which nothing is written.
    covered: bool,
}

impl SmallDisk {
    /// Mounts a disk of so many megabytes.
    ///
    /// # Panics
    /// Panics with the words of `mount` where it may not.
    pub fn mount(folder: &Path, megabytes: u32) -> Self {
        std::fs::create_dir_all(folder).expect("a folder to mount on");
        let size = format!("size={megabytes}m");
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "streamkeeper-test"])
            .arg(folder)
            .output()
            .expect("mount runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "mount: {said}; this test fills a disk of its own, which only root may mount"
        );
        Self {
            folder: folder.to_owned(),
            covered: false,
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Takes all the room that is left.
    ///
    /// # Panics
    /// Panics where the disk cannot be written for another reason.
    pub fn fill(&self) {
        let mut filler = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.filler())
            .expect("a file that fills the disk");
        // Smaller and smaller pieces, so that not a page is left.
        let mut piece = vec![0_u8; 1 << 20];
        while !piece.is_empty() {
            match filler.write(&piece) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                    piece.truncate(piece.len() / 2);
                }
                Err(error) => panic!("{}: {error}", self.filler().display()),
            }
        }
    }

    /// Gives the room back.
    ///
    /// # Panics
    /// Panics where the filling file cannot be removed.
    pub fn free(&self) {
        std::fs::remove_file(self.filler()).expect("the file that fills the disk goes");
    }
}

impl SmallDisk {
    /// From now on, whoever opens a file there can only read it.
    ///
    /// # Panics
    /// Panics with the words of `mount`.
    pub fn forbid_writes(&mut self) {
        let folder = &self.folder;
        run(Command::new("mount").arg("--bind").arg(folder).arg(folder));
        self.covered = true;
        run(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(folder));
    }

    /// Takes that back.
    ///
    /// # Panics
    /// Panics with the words of `umount`.
    pub fn allow_writes(&mut self) {
        // Lazily, because somebody reads there.
        run(Command::new("umount").arg("--lazy").arg(&self.folder));
        self.covered = false;
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().expect("mount and umount run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        for _ in 0..=usize::from(self.covered) {
            // Lazily: whoever still has a file open there is about to end.
            let _ = Command::new("umount").arg("--lazy").arg(&self.folder).output();
        }
    }
}
