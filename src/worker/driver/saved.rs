//! The saved set on disk: what a worker starts from when it restarts and no leader answers.
//!
//! What cannot be used is moved aside with a warning: it is no reason to keep a worker from its leader.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use streamkeeper_protocol::limit::MAX_ENTRIES;
use streamkeeper_protocol::{SessionId, WorkerId};
use tracing::warn;

use super::Identity;
use super::state::replace;
use crate::session::SavedSet;

/// Name of the file in the state folder. It holds sources, with their passwords: only the worker's user reads it.
const FILE: &str = "desired.json";
/// The format that this version writes, and the highest that it reads.
const FORMAT: u32 = 1;
/// Largest file that is written or read.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Contents of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    format: u32,
    worker: WorkerId,
    session: SessionId,
    boot_id: String,
    set: SavedSet,
}

/// Writes the set of this life.
pub(super) fn write(folder: &Path, identity: &Identity, set: SavedSet) -> io::Result<()> {
    let contents = Contents {
        format: FORMAT,
        worker: identity.worker.clone(),
        session: identity.session,
        boot_id: identity.boot_id.clone(),
        set,
    };
    replace(folder, FILE, |file| {
        let mut writer = BufWriter::new(Limited {
            file,
            left: MAX_BYTES,
        });
        serde_json::to_writer(&mut writer, &contents)?;
        writer.flush()
    })
}

/// Forgets the set: its streams go elsewhere.
pub(super) fn clear(folder: &Path) -> io::Result<()> {
    match std::fs::remove_file(folder.join(FILE)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Reads the set that an earlier life of `worker` left.
pub(super) fn load(folder: &Path, worker: &WorkerId) -> Option<SavedSet> {
    let path = folder.join(FILE);
    let (kind, problem) = match read(&path, worker) {
        Ok(set) => return set,
        Err(refused) => refused,
    };
    let aside = folder.join(format!("{FILE}.{kind}"));
    let moved = std::fs::rename(&path, &aside);
    warn!(path = %path.display(), aside = %aside.display(), moved = moved.is_ok(), problem,
        "the saved streams cannot be used; without a leader this worker starts none");
    None
}

/// Why a set is refused: what it is, for the name of the file aside, and in words.
type Refused = (&'static str, String);

fn read(path: &Path, worker: &WorkerId) -> Result<Option<SavedSet>, Refused> {
    #[derive(Deserialize)]
    struct OnlyFormat {
        format: u32,
    }
    let corrupt = |problem: String| ("corrupt", problem);
    let length = match std::fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(corrupt(error.to_string())),
    };
    if length > MAX_BYTES {
        return Err(corrupt(format!(
            "{length} bytes are over the limit of {MAX_BYTES}"
        )));
    }
    let bytes = std::fs::read(path).map_err(|error| corrupt(error.to_string()))?;
    // First the format alone: a newer one may have another shape.
    let OnlyFormat { format } = serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
    if format > FORMAT {
        return Err((
            "newer",
            format!("format {format} is of a newer version, this one reads up to {FORMAT}"),
        ));
    }
    let contents: Contents = serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
    if contents.worker != *worker {
        return Err(("foreign", format!("it is of worker {}", contents.worker)));
    }
    if contents.set.streams.len() > MAX_ENTRIES {
        return Err(corrupt(format!("it has more than {MAX_ENTRIES} streams")));
    }
    Ok(Some(contents.set))
}

/// Refuses to write more than the limit.
struct Limited<'a> {
    file: &'a mut File,
    left: u64,
}

impl Write for Limited<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.left = self
            .left
            .checked_sub(length)
            .ok_or_else(|| io::Error::other(format!("more than {MAX_BYTES} bytes")))?;
        self.file.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;

    use streamkeeper_protocol::{Epoch, Ownership, RunSpec, StreamId, Term, Version};

    use super::*;
    use crate::session::SavedStream;

    fn identity(worker: &str) -> Identity {
        Identity::new(WorkerId::new(worker).unwrap())
    }

    fn set(source: &str) -> SavedSet {
        let term = Term::new(3).unwrap();
        SavedSet {
            version: Version { term, generation: 7 },
            streams: vec![SavedStream {
                stream: StreamId::new("a").unwrap(),
                epoch: Epoch::new(term, 5),
                spec: RunSpec {
                    source: source.to_owned(),
                    ownership: Ownership::Available,
                    labels: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
                },
            }],
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let w = identity("w");
        assert_eq!(load(folder.path(), &w.worker), None);
        clear(folder.path()).unwrap();
        for source in ["x", "rtsp://user:secret@h"] {
            write(folder.path(), &w, set(source)).unwrap();
        }
        assert_eq!(load(folder.path(), &w.worker), Some(set("rtsp://user:secret@h")));
        let mode = std::fs::metadata(folder.path().join(FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "others may not read the sources");
        clear(folder.path()).unwrap();
        assert_eq!(load(folder.path(), &w.worker), None);
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "nothing is left"
        );
    }

    #[test]
    fn what_cannot_be_used_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &identity("other"), set("x")).unwrap();
        let foreign = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        let cut = foreign[..foreign.len() / 2].to_owned();
        for (text, aside) in [
            (foreign, "desired.json.foreign"),
            (cut, "desired.json.corrupt"),
            (String::new(), "desired.json.corrupt"),
            (r#"{"format":2,"elsewhere":[]}"#.to_owned(), "desired.json.newer"),
        ] {
            std::fs::write(folder.path().join(FILE), &text).unwrap();
            assert_eq!(load(folder.path(), &identity("w").worker), None);
            assert_eq!(std::fs::read_to_string(folder.path().join(aside)).unwrap(), text);
            assert!(!folder.path().join(FILE).exists());
        }
        let file = File::create(folder.path().join(FILE)).unwrap();
        file.set_len(MAX_BYTES + 1).unwrap();
        assert_eq!(load(folder.path(), &identity("w").worker), None);
    }

    #[test]
    fn a_set_over_the_limit_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let w = identity("w");
        write(folder.path(), &w, set("x")).unwrap();
        let huge = "x".repeat(usize::try_from(MAX_BYTES).unwrap());
        let error = write(folder.path(), &w, set(&huge)).unwrap_err();
        assert!(error.to_string().contains("67108864"), "{error}");
        assert_eq!(load(folder.path(), &w.worker), Some(set("x")));
    }
}
