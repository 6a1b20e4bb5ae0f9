//! Wall clocks that jump while a process runs, and machines that were started at another time.

use std::path::{Path, PathBuf};

use streamkeeper_tests::fleet::Place;
use streamkeeper_tests::http::client;
use streamkeeper_tests::process::find_program;

/// Where Debian's package libfaketime has the library for programs with threads.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
const DAY_SECONDS: i64 = 24 * 3_600;
/// What another boot time adds.
const BOOT_SECONDS: &str = "86400";

/// The file that says how far the wall clock of a process is off.
fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("clock-{name}"))
}

/// The library that puts a wall clock between a process and the machine's; the clocks of leases and timers stay.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    folders
        .map(|folder| folder.path().join(LIBRARY))
        .find(|library| library.is_file())
        .expect("libfaketime is not installed: run `make setup`")
}

/// Gives what is started at `place` a wall clock that can be set.
pub(crate) fn settable(place: &mut Place, folder: &Path, name: &str) {
    set(folder, name, 0);
    for (variable, value) in [
        ("LD_PRELOAD", library()),
        ("FAKETIME_TIMESTAMP_FILE", file(folder, name)),
        ("FAKETIME_CACHE_DURATION", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ("NO_FAKE_STAT", "1".into()),
    ] {
        place
            .variables
            .push((variable.to_owned(), value.to_string_lossy().into_owned()));
    }
}

/// Sets it, so many days off.
pub(crate) fn set(folder: &Path, name: &str, days: i64) {
    let (file, new) = (file(folder, name), folder.join("clock-new"));
    // Renamed, so that nobody reads half of it.
    std::fs::write(&new, format!("{:+}\n", days * DAY_SECONDS)).expect("a file");
    std::fs::rename(new, file).expect("a file");
}

/// How many days the wall clock of an orchestrator is off, by the date of its answers.
pub(crate) async fn days_off(base: &str) -> Result<i64, String> {
    let answer = client()
        .get(format!("{base}/livez"))
        .send()
        .await
        .map_err(|error| error.to_string())?;
    let date = answer
        .headers()
        .get("date")
        .and_then(|date| date.to_str().ok())
        .ok_or("no date")?;
    let date = chrono::DateTime::parse_from_rfc2822(date).map_err(|error| format!("{date}: {error}"))?;
    let off = (date.timestamp() - chrono::Utc::now().timestamp()) as f64;
    Ok((off / DAY_SECONDS as f64).round() as i64)
}

/// Makes what is started at `place` live on a machine that was started a day earlier.
pub(crate) fn another_boot_time(place: &mut Place) {
    let unshare = find_program("unshare").to_string_lossy().into_owned();
    place.before.extend([
        unshare,
        "--time".to_owned(),
        "--boottime".to_owned(),
        BOOT_SECONDS.to_owned(),
        "--".to_owned(),
    ]);
}

/// Takes that back.
pub(crate) fn own_boot_time(place: &mut Place) {
    let begin = place.before.iter().position(|word| word.ends_with("/unshare"));
    place.before.truncate(begin.unwrap_or(place.before.len()));
}
